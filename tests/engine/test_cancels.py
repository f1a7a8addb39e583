"""Each place where a run can be cancelled, and that nothing is done after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FluxTransformer2DModel,
    UNet2DConditionModel,
)
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from huggingface_hub.utils import tqdm as HubBar  # noqa: N812
from PIL import Image
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from dw.engine import Cancelled, Engine, RunControl
from dw.engine.patches import weight_reading
from dw.engine.tasks import gather
from dw.events import StepStarted
from tests.engine.session import PNG, CancelsAt, Json, Session, generate, text_to_image, workflow

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SD15 = {"component_type": "StableDiffusionPipeline"}
SDXL = {"component_type": "StableDiffusionXLPipeline"}
FLUX = {"component_type": "FluxPipeline"}
ALL = {"command": "gather_images", "arguments": {"glob": "*.png"}}
TWO_PASSES = {"prompt": "a cat", "negative_prompt": "a dog", "true_cfg_scale": 3.0}

Call = Callable[..., Any]


class Cancels:
    """Makes functions cancel a run at one of their calls, and remembers the calls of all."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.control = RunControl()
        self.calls: list[str] = []
        self.patch = patch

    def at(self, owner: Any, name: str, call: int = 1) -> None:
        """Cancel within the `call`-th call of `owner.name`; 0: only remember its calls."""
        original: Call = getattr(owner, name)
        label = f"{getattr(owner, '__name__', owner)}.{name}"

        @wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(label)
            if self.calls.count(label) == call:
                self.control.cancel()
            return original(*args, **kwargs)

        self.patch.setattr(owner, name, wrapped)


@pytest.fixture
def cancels(monkeypatch: pytest.MonkeyPatch) -> Cancels:
    return Cancels(monkeypatch)


NETS = (CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel)
NETS += (UNet2DConditionModel, FluxTransformer2DModel, Decoder)


@pytest.mark.parametrize(
    ("configuration", "arguments", "net", "call"),
    [
        pytest.param(SDXL, {}, CLIPTextModel, 1, id="between text encoders"),
        pytest.param(FLUX, {}, T5EncoderModel, 1, id="before the first step"),
        pytest.param(SD15, {}, UNet2DConditionModel, 1, id="in the first step"),
        pytest.param(SDXL, {}, UNet2DConditionModel, 3, id="between steps"),
        pytest.param(FLUX, TWO_PASSES, FluxTransformer2DModel, 3, id="between passes"),
        pytest.param(FLUX, {}, FluxTransformer2DModel, 4, id="before the decoder"),
    ],
)
def test_no_net_is_called_after_the_one_that_runs(
    warm: Session, cancels: Cancels, configuration: Json, arguments: Json, net: type, call: int
) -> None:
    document = text_to_image("a", configuration=configuration, arguments=arguments)
    before = warm.hashes(document, rehearse=True)
    for each in NETS:
        cancels.at(each, "forward", call if each is net else 0)
    warm.cancel(document, cancels.control, rehearse=True)
    cancels.patch.undo()
    assert cancels.calls.count(f"{net.__name__}.forward") == call
    assert cancels.calls[-1] == f"{net.__name__}.forward"
    assert warm.hashes(document, rehearse=True) == before
    assert warm.loaded == ()


def test_the_progress_is_told(warm: Session, sd15: Path) -> None:
    cancelled = warm.cancel(text_to_image(sd15), CancelsAt(3))
    assert (cancelled.step, cancelled.steps) == (3, 4)


def test_before_anything_it_leaves_its_record_alone(session: Session, sd15: Path) -> None:
    control = RunControl()
    control.cancel()
    session.cancel(text_to_image(sd15), control)
    [left] = (session.folder / "outputs" / "demo" / "0001").iterdir()
    assert json.loads(left.read_text())["state"] == "cancelled"


def test_before_the_first_step(warm: Session, sd15: Path, cancels: Cancels) -> None:
    cancels.at(UNet2DConditionModel, "forward", 0)
    cancelled = warm.cancel(text_to_image(sd15), CancelsAt(0))
    assert (cancelled.step, cancelled.steps, cancels.calls) == (0, 4, [])


def test_between_the_blocks_of_a_decode(warm: Session, sd15: Path, cancels: Cancels) -> None:
    before = warm.hashes(text_to_image(sd15))
    cancels.at(UpDecoderBlock2D, "forward", 2)
    warm.cancel(text_to_image(sd15), cancels.control)
    assert len(cancels.calls) == 2
    cancels.control = RunControl()
    assert warm.hashes(text_to_image(sd15)) == before


def test_between_the_tiles_of_a_decode(
    session: Session, sd15: Path, cancels: Cancels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_small_tiles(vae: Any) -> None:
        vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size = True, 4, 32

    monkeypatch.setattr(AutoencoderKL, "enable_tiling", in_small_tiles)
    document = text_to_image(sd15, configuration={"vae": {"enable_tiling": True}})
    before = session.hashes(document)
    cancels.at(Decoder, "forward", 2)
    session.cancel(document, cancels.control)
    assert len(cancels.calls) == 2
    cancels.calls.clear()
    cancels.control = RunControl()
    assert session.hashes(document) == before
    assert len(cancels.calls) > 2


class TestLoading:
    def test_between_components(self, session: Session, sd15: Path, cancels: Cancels) -> None:
        cancels.at(session.engine._cache._live_models, "add")
        session.cancel(text_to_image(sd15), cancels.control)
        assert [row.name for row in session.engine.memory().components] == ["gen.text_encoder"]
        session.run(text_to_image(sd15))
        assert session.loaded == ("gen.tokenizer", "gen.unet", "gen.vae")

    @pytest.mark.parametrize(
        ("tensor", "there"),
        [(1, []), (40, ["gen.text_encoder", "gen.tokenizer"])],
        ids=["transformers", "diffusers"],
    )
    def test_between_the_tensors_of_a_component(
        self, session: Session, sd15: Path, cancels: Cancels, tensor: int, there: list[str]
    ) -> None:
        before = Session(Engine(), session.folder).hashes(text_to_image(sd15))
        cancels.at(weight_reading, "count", tensor)
        session.cancel(text_to_image(sd15), cancels.control)
        assert len(cancels.calls) == tensor
        assert [row.name for row in session.engine.memory().components] == there
        assert session.hashes(text_to_image(sd15)) == before

    def test_between_components_that_are_loaded_late(
        self, session: Session, sd15: Path, cancels: Cancels
    ) -> None:
        inner = generate("", from_pretrained_arguments={"model_name": "variable:model"})
        child = workflow(inner, variables={"model": "nobody/no-such-model"}, id="child")
        (session.folder / "child.json").write_text(json.dumps(child))
        tell = {"name": "tell", "task": {"command": "gather_inputs", "inputs": [str(sd15)]}}
        call = {"path": "child.json", "arguments": {"model": "previous_result:tell"}}
        cancels.at(session.engine._cache._live_models, "add", 2)
        session.cancel(workflow(tell, {"name": "sub", "workflow": call}), cancels.control)
        assert len(session.engine.memory().components) == 2

    def test_between_the_chunks_of_a_download(
        self, session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        control, chunks = RunControl(), []

        def download(name: str, **_: Any) -> str:
            with HubBar(total=1000, unit="B") as bar:
                for chunk in range(10):
                    chunks.append(chunk)
                    if chunk == 3:
                        control.cancel()
                    bar.update(100)
            return str(sd15)

        monkeypatch.setattr(DiffusionPipeline, "download", download)
        session.cancel(text_to_image("somebody/a-model"), control)
        assert chunks == [0, 1, 2, 3]
        assert session.hashes(text_to_image("somebody/a-model"))


def small(image: Any, name: str = "small") -> Json:
    arguments = {"image": image, "width": 8, "height": 8}
    task = {"command": "resize_rescale", "arguments": arguments}
    return {"name": name, "task": task, "result": PNG}


class TestSteps:
    """Three images, and a cancel while the first one is made smaller."""

    @pytest.fixture(autouse=True)
    def images(self, session: Session, cat: Path, cancels: Cancels) -> None:
        for name in ("bat.png", "rat.png"):
            (session.folder / name).write_bytes(cat.read_bytes())
        cancels.at(Image.Image, "resize")

    def test_between_iterations(self, session: Session, cancels: Cancels) -> None:
        document = workflow({"name": "all", "task": ALL}, small("previous_result:all"))
        session.cancel(document, cancels.control)
        assert cancels.calls == ["Image.resize"]

    def test_between_workflow_steps(self, session: Session, cancels: Cancels) -> None:
        session.cancel(workflow(small("cat.png"), small("cat.png", "next")), cancels.control)
        [started] = session.seen(StepStarted)
        assert (started.name, started.index, started.total) == ("small", 1, 2)
        folder = session.folder / "outputs" / "demo" / "0001"
        assert sorted(f.name for f in folder.iterdir()) == ["demo-small.0-0.0.png", "run.json"]
        assert json.loads((folder / "run.json").read_text())["state"] == "cancelled"

    def test_in_a_task(self, session: Session, cancels: Cancels) -> None:
        cancels.at(gather, "read_image", 2)
        session.cancel(workflow({"name": "all", "task": ALL}), cancels.control)
        assert cancels.calls == ["dw.engine.tasks.gather.read_image"] * 2

    def test_in_a_sub_workflow(self, session: Session, cancels: Cancels) -> None:
        child = workflow(small("cat.png"), small("cat.png", "next"), id="child")
        (session.folder / "child.json").write_text(json.dumps(child))
        call = {"path": "child.json", "arguments": {}}
        document = workflow({"name": "sub", "workflow": call}, small("cat.png", "last"))
        session.cancel(document, cancels.control)
        assert [event.name for event in session.seen(StepStarted)] == ["sub", "sub.small"]


def test_a_second_cancel_and_one_after_the_end_are_harmless(warm: Session, sd15: Path) -> None:
    control = RunControl()
    before = warm.hashes(text_to_image(sd15), control=control)
    control.cancel()
    control.cancel()
    with pytest.raises(Cancelled):
        control.check()
    assert warm.hashes(text_to_image(sd15)) == before
