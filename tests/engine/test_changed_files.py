"""Files of models that change under a run: it never draws from another version without a word, and
neither does the next one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dw import run_record
from dw.engine import Engine, RunControl
from dw.errors import RetryRun, RunFailed
from dw.events import Event, Loading
from dw.rehearsal import stand_in_ip_adapter, stand_in_lora, stand_in_model
from tests.engine.session import PNG, Json, Session, generate, text_to_image, workflow

DURING = " during the run, whose results may come from half-changed weights"


def rewritten(path: Path) -> None:
    """Other weights of the same size in the same inode, with the time of the last write kept, as
    `rsync --inplace --times` leaves it."""
    times, content = path.stat(), path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")  # of the data, which is float32 here
    halves = np.frombuffer(content, np.float32, offset=begin) * np.float32(0.5)
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(halves.tobytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    """Other weights under the same name, with the times of the old ones."""
    other = Path(shutil.copy2(path, path.with_suffix(".other")))
    rewritten(other)
    other.replace(path)


class AtStep(RunControl):
    """A control that acts once, when the pipeline has done two steps."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._acts = [act]

    def stepped(self, step: int, steps: int) -> None:
        super().stepped(step, steps)
        if step == 2 and self._acts:
            self._acts.pop()()


@pytest.fixture
def model(sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd15, tmp_path / "model"))


@pytest.fixture
def unet(model: Path) -> Path:
    return model / "unet" / "diffusion_pytorch_model.safetensors"


def cold(session: Session, document: Json) -> list[str]:
    return Session(Engine(), session.folder).hashes(document)


def last_record(session: Session) -> Json:
    return run_record.read(max((session.folder / "outputs" / "demo").iterdir()))


WAYS = pytest.mark.parametrize("change", [rewritten, replaced])
Change = Callable[[Path], None]


@WAYS
def test_weights_that_change_between_plan_and_load(
    session: Session, model: Path, unet: Path, change: Change
) -> None:
    before = cold(session, text_to_image(model))
    emit = session.emit

    def changing(event: Event) -> None:
        emit(event)
        if isinstance(event, Loading) and event.component == "gen.unet":
            change(unet)

    session.emit = changing  # type: ignore[method-assign]
    error = session.fail(text_to_image(model))
    assert isinstance(error, RunFailed)
    assert error.where == "loading gen.unet"
    assert error.message.startswith(f"{str(unet)!r} was ")
    assert error.message.endswith(" while it was being read")
    assert "gen.unet" not in {row.name for row in session.engine.memory().components}
    session.emit = emit  # type: ignore[method-assign]
    after = session.hashes(text_to_image(model))
    assert after == cold(session, text_to_image(model)) != before


@WAYS
def test_weights_that_change_in_mid_run(
    session: Session, model: Path, unet: Path, change: Change
) -> None:
    before = session.hashes(text_to_image(model))
    error = session.fail(text_to_image(model), control=AtStep(lambda: change(unet)))
    what = "changed" if change is rewritten else "replaced"
    assert error.message == f"{str(unet)!r} was {what}{DURING}"
    assert RetryRun() in error.hints
    record = last_record(session)
    assert (record["state"], record["cause"]) == ("failed", str(error))
    assert len(record["outputs"]) == 1  # they are kept
    kept = {row.name for row in session.engine.memory().components}
    assert kept == {"gen.text_encoder", "gen.tokenizer", "gen.vae"}
    after = session.hashes(text_to_image(model))
    assert session.loaded == ("gen.unet",)
    assert after == cold(session, text_to_image(model)) != before


def test_a_config_that_changes_in_mid_run_was_read_long_before(
    session: Session, model: Path
) -> None:
    config = model / "unet" / "config.json"
    rewrite = AtStep(lambda: config.write_text(config.read_text() + "\n"))
    assert session.hashes(text_to_image(model), control=rewrite) == cold(
        session, text_to_image(model)
    )
    session.run(text_to_image(model))
    assert session.loaded == ("gen.unet",)


def test_weights_of_a_step_that_is_over(session: Session, model: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(model, tmp_path / "other"))
    two = workflow(generate(model), {**generate(other), "name": "then"})
    vae = model / "vae" / "diffusion_pytorch_model.safetensors"
    steps: list[int] = []

    class InTheSecond(RunControl):
        def stepped(self, step: int, steps_: int) -> None:
            super().stepped(step, steps_)
            steps.append(step)
            if steps.count(2) == 2 and step == 2:
                rewritten(vae)

    error = session.fail(two, control=InTheSecond())
    assert error.message == f"{str(vae)!r} was changed{DURING}"


def test_a_lora(session: Session, model: Path) -> None:
    lora = Path(shutil.copy(stand_in_lora(model, "a", None), session.folder / "a.safetensors"))
    document = text_to_image(model, loras=[{"model_name": str(lora)}])
    before = session.hashes(document)
    error = session.fail(document, control=AtStep(lambda: rewritten(lora)))
    assert error.message == f"{str(lora)!r} was changed{DURING}"
    after = session.hashes(document)
    assert session.loaded == ()
    assert after == cold(session, document) != before


def test_an_ip_adapter(session: Session, cat: Path) -> None:
    document = text_to_image(
        "any/model",
        ip_adapter={"model_name": "any/adapter", "weight_name": "plain.safetensors"},
        arguments={"ip_adapter_image": "cat.png"},
    )
    paths: list[Path] = []

    def making(*arguments: object) -> Path:
        made = stand_in_ip_adapter(*arguments)  # type: ignore[arg-type]
        paths[:] = [session.folder / "ip.safetensors"]
        if not paths[0].exists():
            shutil.copy(made, paths[0])
        return paths[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dw.engine.calls.ip_adapter.stand_in_ip_adapter", making)
        before = session.hashes(document, rehearse=True)
        error = session.fail(document, rehearse=True, control=AtStep(lambda: rewritten(paths[0])))
        assert error.message == f"{str(paths[0])!r} was changed{DURING}"
        after = session.hashes(document, rehearse=True)
        assert after != before
        assert after == Session(Engine(), session.folder).hashes(document, rehearse=True)


def single(model: Path, checkpoint: Path) -> Json:
    def part(kind: str, subfolder: str) -> Json:
        return {
            "configuration": {"component_type": kind},
            "from_pretrained_arguments": {"model_name": str(model), "subfolder": subfolder},
        }

    document = text_to_image("")
    pipeline = document["steps"][0]["pipeline"]
    pipeline["from_pretrained_arguments"] = {
        "from_single_file": str(checkpoint),
        "config": str(model),
    }
    pipeline["vae"] = part("AutoencoderKL", "vae")
    pipeline["text_encoder"] = part("transformers.CLIPTextModel", "text_encoder")
    return document


def test_a_checkpoint_in_one_file(session: Session, model: Path, unet: Path) -> None:
    checkpoint = Path(shutil.copy(unet, session.folder / "tiny.safetensors"))
    document = single(model, checkpoint)
    before = session.hashes(document)
    error = session.fail(document, control=AtStep(lambda: rewritten(checkpoint)))
    assert error.message == f"{str(checkpoint)!r} was changed{DURING}"
    assert session.hashes(document) == cold(session, document) != before


def test_the_configs_beside_a_checkpoint_in_one_file(
    session: Session, model: Path, unet: Path
) -> None:
    checkpoint = Path(shutil.copy(unet, session.folder / "tiny.safetensors"))
    document = single(model, checkpoint)
    before = session.hashes(document)
    config = model / "unet" / "config.json"
    config.write_text(config.read_text().replace('"silu"', '"gelu"'))
    after = session.hashes(document)
    assert after == cold(session, document) != before


def test_the_config_beside_a_component_in_one_file(
    session: Session, model: Path, unet: Path, tmp_path: Path
) -> None:
    shutil.copy(unet, session.folder / "own.safetensors")
    shutil.copytree(model / "unet", session.folder / "configs" / "unet")
    own = {
        "configuration": {"component_type": "UNet2DConditionModel"},
        "from_pretrained_arguments": {
            "from_single_file": "own.safetensors",
            "config": "configs",
            "subfolder": "unet",
        },
    }
    document = text_to_image(model, unet=own)
    before = session.hashes(document)
    assert before == cold(session, text_to_image(model))
    config = session.folder / "configs" / "unet" / "config.json"
    config.write_text(config.read_text().replace('"silu"', '"gelu"'))
    after = session.hashes(document)
    assert after == cold(session, document) != before


def test_a_blob_of_the_hubs_cache_that_is_written_in_place(
    session: Session, model: Path, tmp_path: Path
) -> None:
    root = tmp_path / "hub" / "models--acme--tiny"
    for number, file in enumerate(f for f in model.rglob("*") if f.is_file()):
        blob = root / "blobs" / f"{number:064x}"
        link = root / "snapshots" / ("1" * 40) / file.relative_to(model)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blob)
        link.symlink_to(blob)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("1" * 40)
    options = {"cache_dir": str(tmp_path / "hub")}
    document = text_to_image("acme/tiny", from_pretrained_arguments=options)
    before = session.hashes(document, trust=True)
    rewritten(root / "snapshots" / ("1" * 40) / "unet" / "diffusion_pytorch_model.safetensors")
    after = session.hashes(document, trust=True)
    assert session.loaded == ("gen.unet",)
    assert after == Session(Engine(), session.folder).hashes(document, trust=True) != before


def test_the_model_of_a_task(session: Session, model: Path, cat: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stand_in_model("depth"), tmp_path / "depth"))
    arguments = {"image": "cat.png", "model_name": str(folder)}
    task = {"command": "depth_estimator", "arguments": arguments}
    document = workflow({"name": "depth", "task": task, "result": PNG}, generate(model))
    before = session.hashes(document)
    weights = folder / "model.safetensors"
    error = session.fail(document, control=AtStep(lambda: rewritten(weights)))
    assert error.message == f"{str(weights)!r} was changed{DURING}"
    after = session.hashes(document)
    assert session.loaded == ("depth.model", "depth.processor")
    assert after == cold(session, document) != before
