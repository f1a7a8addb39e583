"""What SECURITY.md promises, each with a test of its number. The inputs are harmless: what would be
run, read or reached does not exist, or leaves a mark."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dw.errors import DwError
from dw.types import Permissions
from dw.workflow.loading import validate_file
from tests.engine.session import Json, Session, generate, merged, on_a_gpu, text_to_image, workflow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def mark(session: Session, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made by code beside the workflow, when it is run."""
    mark = session.folder / "mark"
    code = f"open({str(mark)!r}, 'w').close()\nVALUE = 1\nclass Mark: pass\n"
    for name in ("stranger", "pipeline"):
        (session.folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(session.folder)
    return mark


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that no workflow may read."""
    folder = tmp_path_factory.mktemp("secret")
    Image.new("RGB", (8, 8)).save(folder / "cat.png")
    return folder


def echo(value: Any) -> Json:
    return workflow({"name": "a", "task": {"command": "gather_inputs", "inputs": [value]}})


def made(cls: str, **arguments: Any) -> Json:
    return echo({"x_type": cls, "from_arguments": arguments})


def refused(session: Session, document: Json) -> str:
    """The message with which a run, a rehearsal and the checks before them refuse a workflow."""
    messages = [str(session.fail(document, rehearse=rehearse)) for rehearse in (False, True)]
    return "; ".join(messages)


# ------------------------------------------------------------------ 1. classes


@pytest.mark.parametrize(
    "name",
    [
        *("stranger.Mark", "subprocess.Popen", "torch.save", "transformers.set_seed"),
        *("transformers.TrainingArguments", "transformers.TextStreamer", "accelerate.Accelerator"),
        *("diffusers.commands.env.EnvironmentCommand", "transformers.testing_utils.TestCasePlus"),
    ],
)
def test_1_an_object_is_of_a_kind_that_a_workflow_makes(
    session: Session, mark: Path, name: str
) -> None:
    assert repr(name) in refused(session, made(name))
    assert not mark.exists()


@pytest.mark.parametrize("place", ["component_type", "scheduler_type", "attn_processor_type"])
def test_1_a_class_stands_in_the_place_of_its_kind(session: Session, place: str) -> None:
    changes: dict[str, Json] = {
        "component_type": {"configuration": {place: "transformers.TrainingArguments"}},
        "scheduler_type": {"scheduler": {"configuration": {place: "VaeImageProcessor"}}},
        "attn_processor_type": {"configuration": {"unet": {place: "transformers.CLIPTextModel"}}},
    }
    document = text_to_image("builtin:shapes", **changes[place])
    assert "is not a" in refused(session, document)


@pytest.mark.parametrize("module", ["stranger", "this", "transformers.testing_utils"])
def test_1_no_other_module_is_imported(session: Session, mark: Path, module: str) -> None:
    changes = {"configuration": {"pre_load_modules": [module]}}
    assert repr(module) in refused(session, text_to_image("builtin:shapes", **changes))
    assert not mark.exists()


# ------------------------------------------------------------------ 2. constants


@pytest.mark.parametrize(
    "name",
    [
        *("stranger.VALUE", "os.environ", "torch.os.environ", "torch.save", "torch.nn"),
        *("diffusers.hooks.hooks.logger", "diffusers.FluxPipeline", "torch._C"),
    ],
)
def test_2_a_constant_is_a_plain_value(session: Session, mark: Path, name: str) -> None:
    assert name.rpartition(".")[2] in refused(session, echo(f"constant:{name}"))
    assert not mark.exists()


# ------------------------------------------------------------------ 3. code


@pytest.mark.parametrize(
    "option",
    [
        {"custom_pipeline": "./pipeline.py"},
        {"trust_remote_code": True},
        {"custom_generate": "org/name"},
        {"attn_implementation": "org/name"},
        {"kernel_config": {"a": "org/name"}},
        {"use_kernels": True},
        {"code_revision": "main"},
        {"gguf_file": "x.gguf"},
        {"state_dict": "x"},
    ],
)
def test_3_an_argument_brings_no_code(session: Session, mark: Path, option: Json) -> None:
    name = next(iter(option))
    loads = {"from_pretrained_arguments": option}
    task = {"command": "text_generation", "arguments": {"prompt": "x", "generate_kwargs": option}}
    for document in (
        text_to_image("builtin:shapes", **loads),
        text_to_image("builtin:shapes", vae=merged(of_vae(), loads)),
        text_to_image("any/model", configuration=OF_TRANSFORMERS, **loads),
        text_to_image("builtin:shapes", arguments=option),
        workflow({"name": "a", "task": task}),
        made("transformers.GenerationConfig", **option),
    ):
        assert repr(name) in refused(session, document)
    assert not mark.exists()


OF_TRANSFORMERS = {"component_type": "transformers.AutoModel"}


def of_vae() -> Json:
    return {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": "any/vae"},
    }


def test_3_the_compiler_gets_no_program(session: Session) -> None:
    compile_ = {"components": {"unet": {"compile": {"options": {"cpp.cxx": ["stranger"]}}}}}
    document = text_to_image("builtin:shapes", configuration=compile_)
    assert "the option 'cpp.cxx' of the compiler is none of" in refused(session, document)


def test_3_a_model_brings_no_code(session: Session, sd15: Path, mark: Path) -> None:
    model = copied(sd15, session.folder / "model")
    (model / "mark.py").write_text((session.folder / "stranger.py").read_text())
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": ["mark", "Mark"]}))
    assert "is code that would be run" in str(session.fail(text_to_image("./model")))
    config = json.loads((model / "text_encoder" / "config.json").read_text())
    kernel = {**config, "_attn_implementation": "org/name"}
    (model / "text_encoder" / "config.json").write_text(json.dumps(kernel))
    assert "may not be loaded" in str(session.fail(text_to_image("./model")))
    assert not mark.exists()


def copied(model: Path, to: Path) -> Path:
    for file in model.rglob("*"):
        if file.is_file():
            place = to / file.relative_to(model)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    return to


# ------------------------------------------------------------------ 4. pickles


def test_4_a_pickle_is_not_read(session: Session) -> None:
    torch.save({"x": torch.zeros(1)}, session.folder / "weights.bin")
    document = text_to_image("builtin:shapes", loras=[{"model_name": "./weights.bin"}])
    assert "pickle" in str(session.fail(document))


# ------------------------------------------------------------------ 5. files


@pytest.mark.parametrize("place", ["itself", "link", "parent"])
def test_5_a_file_is_read_in_the_allowed_folders(
    session: Session, secret: Path, place: str
) -> None:
    (session.folder / "link.png").symlink_to(secret / "cat.png")
    names = {
        "itself": str(secret / "cat.png"),
        "link": "link.png",
        "parent": f"../{secret.name}/cat.png",
    }
    message = refused(session, echo({"image": names[place]}))
    assert "is outside of" in message or "does not exist" in message


def test_5_a_link_in_a_model_stays_inside(session: Session, sd15: Path, secret: Path) -> None:
    model = copied(sd15, session.folder / "model")
    (model / "unet" / "notes.json").symlink_to(secret / "cat.png")
    assert "is outside of" in str(session.fail(text_to_image("./model")))


def test_5_what_the_user_types_may_lie_anywhere(session: Session, secret: Path) -> None:
    document = echo({"image": "variable:place"}) | {"variables": {"place": None}}
    assert session.run(document, place=str(secret / "cat.png"))


@pytest.mark.parametrize("place", ["{}/cat.png", "http://127.0.0.1:9/cat.png"])
def test_5_what_a_caller_of_the_server_gives_may_not(
    session: Session, secret: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    document = echo({"image": "variable:place"}) | {"variables": {"place": None}}
    error = session.fail(document, place=place.format(secret), are_typed=False)
    assert "is outside of" in str(error) or "is not on the internet" in str(error)
    Image.new("RGB", (8, 8)).save(session.folder / "cat.png")
    assert session.run(document, place="cat.png", are_typed=False)


# ------------------------------------------------------------------ 6. formats


@pytest.mark.parametrize("form", ["PCX", "PPM", "TGA"])
def test_6_an_image_is_of_a_known_format(session: Session, form: str) -> None:
    Image.new("RGB", (8, 8)).save(session.folder / "cat.png", form)
    assert "not a valid image file" in refused(session, echo({"image": "cat.png"}))


def test_6_a_playlist_is_no_video(session: Session) -> None:
    (session.folder / "film.mp4").write_text("ffconcat version 1.0\nfile 'other.mp4'\n")
    assert "cannot read the video" in refused(session, echo({"video": "film.mp4"}))


# ------------------------------------------------------------------ 7. addresses


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "2130706433", "0x7f.1"),
        *("[::1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]"),
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    ],
)
def test_7_a_private_address_is_not_reached(
    session: Session, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    message = refused(session, echo({"image": f"http://{host}:9/cat.png"}))
    assert "is not on the internet" in message


# ------------------------------------------------------------------ 8. results


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b"])
def test_8_a_result_has_no_path(session: Session, name: str) -> None:
    step = generate("builtin:shapes")
    step["result"] = {"content_type": "image/png", "file_base_name": name}
    assert "cannot hold / or" in refused(session, workflow(step))


@pytest.mark.parametrize("key", ["cache_dir", "offload_to_disk_path"])
def test_8_a_cache_lies_where_a_workflow_may_read(session: Session, secret: Path, key: str) -> None:
    grouping = {"offload_type": "leaf_level", key: str(secret)}
    document = text_to_image("any/model", from_pretrained_arguments={"cache_dir": str(secret)})
    if key == "offload_to_disk_path":
        parts = {"components": {"unet": {"group_offload": grouping}}}
        document = text_to_image("builtin:shapes", configuration=parts)
    assert "is outside of" in str(on_a_gpu(session).fail(document, device=None))


# ------------------------------------------------------------------ 9. limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id":' + "[" * 101, "nested more than 100 deep"),
        (json.dumps(workflow(*[echo(1)["steps"][0]] * 1001)), "at most 1000 items"),
    ],
)
def test_9_a_workflow_is_limited(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "w.json").write_text(text)
    found = validate_file(tmp_path / "w.json").problems
    assert any(message in each.message for each in found)


# ------------------------------------------------------------------ trust, and the page itself


def test_trust_is_one_value(session: Session, secret: Path) -> None:
    document = json.dumps(echo({"image": str(secret / "cat.png")}))
    (session.folder / "w.json").write_text(document)
    assert validate_file(session.folder / "w.json", permissions=Permissions(trust=True)).document
    with pytest.raises(DwError):
        validate_file(session.folder / "w.json").document_or_raise()


def test_each_promise_has_its_tests() -> None:
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    numbers = set(re.findall(r"^(\d+)\. ", page, re.MULTILINE))
    tested = set(re.findall(r"^def test_(\d+)_", Path(__file__).read_text("utf-8"), re.MULTILINE))
    assert tested == numbers == {str(number) for number in range(1, 10)}
