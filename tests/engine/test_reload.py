"""What a change of the workflow, its arguments or its files costs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dw.events import Loaded
from tests.engine.session import Session, generate, text_to_image, workflow

DDIM = {
    "configuration": {"scheduler_type": "DDIMScheduler"},
    "from_config_args": {"timestep_spacing": "trailing"},
}
IMG2IMG = {"component_type": "StableDiffusionImg2ImgPipeline"}


@pytest.fixture
def ready(session: Session, sd15: Path) -> Session:
    """A session that has run the text-to-image workflow."""
    session.run(text_to_image(sd15))
    return session


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"prompt": "a dog"}},
        {"arguments": {"num_inference_steps": 5}},
        {"scheduler": {"configuration": {"scheduler_type": "EulerDiscreteScheduler"}}},
        {"scheduler": DDIM},
        {"configuration": {"vae": {"enable_tiling": True}}},
        {"configuration": {"enable_attention_slicing": True}},
        {"seed": 3},
        {"configuration": IMG2IMG, "arguments": {"image": "cat.png", "width": 64}},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_what_is_not_in_memory_loads_nothing(
    ready: Session, sd15: Path, change: Any, cat: Path
) -> None:
    changed = text_to_image(sd15, **change)
    if "configuration" in change and change["configuration"] == IMG2IMG:
        arguments = changed["steps"][0]["pipeline"]["arguments"]
        arguments.pop("width"), arguments.pop("height")
    ready.run(changed)
    assert (ready.loaded, ready.dropped) == ((), ())
    assert ready.reason == "changed"
    assert ready.seen(Loaded) != []


def test_whitespace_loads_nothing_and_draws_the_same(ready: Session, sd15: Path) -> None:
    before = ready.hashes(text_to_image(sd15))
    document = ready.document({**text_to_image(sd15), "description": "the same"})
    assert ready.hashes(document) == before
    assert (ready.reason, ready.loaded) == ("changed", ())


def test_a_changed_dtype_of_one_component_reloads_that_one(ready: Session, sd15: Path) -> None:
    vae = {"configuration": {"vae": {"torch_dtype": "torch.float64"}}}
    error_or_image = text_to_image(sd15, **vae)
    ready.fail(error_or_image)  # this pipeline does not convert latents for its VAE
    assert ready.loaded == ready.dropped == ("gen.vae",)
    assert {c.name: c.dtype for c in ready.engine.memory().components}["gen.vae"] == "float64"


@pytest.mark.parametrize(
    ("dtype", "reloads"),
    [
        ("torch.float32", ()),
        ({"default": "torch.float32"}, ()),
        ({"unet": "torch.float32"}, ()),
        ("torch.bfloat16", ("gen.text_encoder", "gen.unet", "gen.vae")),
        ({"default": "torch.bfloat16", "vae": "torch.float32"}, ("gen.text_encoder", "gen.unet")),
    ],
)
def test_dtypes_are_compared_after_they_are_resolved(
    ready: Session, sd15: Path, dtype: Any, reloads: tuple[str, ...]
) -> None:
    document = text_to_image(sd15, from_pretrained_arguments={"torch_dtype": dtype})
    ready.run(document)
    assert ready.loaded == ready.dropped == reloads


def test_an_argument_that_is_read_at_load_reloads(session: Session, sd15: Path) -> None:
    loads = {"torch_dtype": "variable:dtype"}
    document = session.document(
        workflow(
            generate(sd15, from_pretrained_arguments=loads), variables={"dtype": "torch.float32"}
        )
    )
    session.run(document)
    session.run(document, dtype="torch.bfloat16")
    assert session.reason == "arguments"
    assert session.loaded == ("gen.text_encoder", "gen.unet", "gen.vae")


@pytest.fixture
def copied(sd15: Path, tmp_path: Path) -> Path:
    """A stand-in whose files may be changed."""
    return Path(shutil.copytree(sd15, tmp_path / "model"))


def test_a_touched_weight_file_reloads_its_component(session: Session, copied: Path) -> None:
    session.run(text_to_image(copied))
    os.utime(copied / "unet" / "diffusion_pytorch_model.safetensors", ns=(1, 1))
    session.run(text_to_image(copied))
    assert session.loaded == session.dropped == ("gen.unet",)
    assert session.reason == "arguments"


def test_a_touched_config_of_the_same_content_reloads_nothing(
    session: Session, copied: Path
) -> None:
    session.run(text_to_image(copied))
    os.utime(copied / "unet" / "config.json", ns=(1, 1))
    session.run(text_to_image(copied))
    assert session.loaded == ()


def test_old_and_new_never_stand_in_memory_together(ready: Session, sd15: Path) -> None:
    living: list[int] = []
    loading = ready.engine._cache.load

    def load(*args: Any, **kwargs: Any) -> None:
        living.append(ready.engine.memory().allocated)
        loading(*args, **kwargs)

    ready.engine._cache.load = load  # type: ignore[method-assign]
    ready.run(text_to_image(sd15, from_pretrained_arguments={"torch_dtype": "torch.bfloat16"}))
    assert living[0] == 0


def test_a_component_from_elsewhere_is_loaded_beside_the_others(
    ready: Session, sd15: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(sd15 / "vae", tmp_path / "own-vae"))
    override = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": str(own)},
    }
    before = ready.hashes(text_to_image(sd15))
    assert ready.hashes(text_to_image(sd15, vae=override)) == before
    assert ready.loaded == ready.dropped == ("gen.vae",)


def test_the_same_folder_under_another_name_loads_nothing(
    ready: Session, sd15: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(sd15)
    ready.run(text_to_image(tmp_path / "alias"))
    assert ready.loaded == ()


def test_a_component_can_be_left_out(session: Session, sd15: Path) -> None:
    changes = {"safety_checker": None, "requires_safety_checker": False}
    session.run(text_to_image(sd15, from_pretrained_arguments=changes))
    assert "gen.safety_checker" not in session.loaded


def test_two_steps_share_their_components(session: Session, sd15: Path, cat: Path) -> None:
    second = generate(sd15, configuration=IMG2IMG)
    second["name"] = "refine"
    second["pipeline"]["arguments"] = {"prompt": "a cat", "image": "previous_result:gen"}
    result = session.run(workflow(generate(sd15), second))
    assert all(name.startswith("gen.") for name in session.loaded)
    assert len(result.outputs) == 2


def test_switching_to_another_model_drops_the_first(ready: Session, flux: Path) -> None:
    ready.run(text_to_image(flux, configuration={"component_type": "FluxPipeline"}))
    # The tokenizer's files are the same in both, so it stays.
    assert set(ready.dropped) == {"gen.text_encoder", "gen.unet", "gen.vae"}
    assert all("unet" not in component.name for component in ready.engine.memory().components)


def test_a_failed_load_leaves_the_default_dtype(session: Session, copied: Path) -> None:
    config = json.loads((copied / "unet" / "config.json").read_text())
    config["mid_block_type"] = "NoSuchBlock"  # which shows while the model is made
    (copied / "unet" / "config.json").write_text(json.dumps(config))
    dtype = {"torch_dtype": "torch.bfloat16"}
    error = session.fail(text_to_image(copied, from_pretrained_arguments=dtype))
    assert error.where == "loading gen.unet"
    assert torch.get_default_dtype() == torch.float32


def test_after_a_failed_first_load_the_next_run_is_a_first_one(
    session: Session, copied: Path
) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(b"not weights")
    session.fail(text_to_image(copied))
    weights.write_bytes(good)
    session.run(text_to_image(copied))
    assert session.reason == "first"


def test_the_generic_class_builds_what_the_model_names(session: Session, sd15: Path) -> None:
    plain = session.hashes(text_to_image(sd15))
    generic = text_to_image(sd15, configuration={"component_type": "DiffusionPipeline"})
    assert session.hashes(generic) == plain
    auto = text_to_image(sd15, configuration={"component_type": "AutoPipelineForText2Image"})
    assert session.hashes(auto) == plain
    assert session.loaded == ()


def test_an_auto_class_finds_the_relative_for_its_task(session: Session, flux: Path) -> None:
    auto = {"component_type": "AutoPipelineForImage2Image"}
    error = session.fail(text_to_image(flux, configuration=auto, arguments={"promt": "a cat"}))
    assert error.message == (
        "FluxImg2ImgPipeline takes no argument 'promt' (did you mean 'prompt'?)"
    )


def test_offload_means_nothing_on_the_cpu_and_says_so(ready: Session, sd15: Path) -> None:
    ready.run(text_to_image(sd15, configuration={"offload": "model"}))
    assert ready.loaded == ()
    assert "offload 'model'" in ready.warnings[0]


def test_a_kept_component_is_called_by_the_step_that_needs_it_now(
    session: Session, sd15: Path, copied: Path
) -> None:
    session.run(text_to_image(sd15))
    other = {**generate(sd15), "name": "other"}
    os.utime(copied / "unet" / "diffusion_pytorch_model.safetensors", ns=(9, 9))
    session.run(workflow(generate(copied), other))
    names = [row.name for row in session.engine.memory().components]
    assert {"gen.unet", "other.unet"} <= set(names)
    assert len(names) == len(set(names))
