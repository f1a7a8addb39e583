"""Modular pipelines: built from blocks, around components of the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ModularPipeline
from diffusers.modular_pipelines.components_manager import CustomOffloadHook, TorchDeviceBackend
from PIL import Image

from dw.engine import Engine
from dw.errors import TrustWorkflow
from dw.events import Loading
from tests.engine.session import CancelsAt, Json, Session, on_a_gpu, text_to_image, workflow

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Quanto.* is deprecated:FutureWarning"),
]

MODULAR = {"component_type": "ModularPipeline"}
GGUF = {"configuration": {"config_type": "GGUFQuantizationConfig"}}
CALL = {"prompt": "a cat", "num_inference_steps": 4, "width": 64, "height": 64}


def modular(model: Path | str, **changes: Any) -> Json:
    configuration = {**MODULAR, **changes.pop("configuration", {})}
    return text_to_image(model, configuration=configuration, **changes)


def names(session: Session) -> list[str]:
    return sorted(row.name for row in session.engine.memory().components)


@pytest.fixture(scope="module")
def repository(flux: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an index alone, whose components lie in another one."""
    folder = tmp_path_factory.mktemp("modular")
    pipeline = ModularPipeline.from_pretrained(str(flux))
    pipeline.save_pretrained(str(folder), overwrite_modular_index=False)
    return folder


def test_it_draws_what_diffusers_alone_draws(session: Session, flux: Path) -> None:
    alone = ModularPipeline.from_pretrained(str(flux))
    alone.load_components(dtype=torch.float32)
    generator = torch.Generator().manual_seed(7)
    [image] = alone(**CALL, generator=generator, output="images")
    [output] = session.run(modular(flux)).outputs
    with Image.open(output.path) as drawn:
        assert drawn.tobytes() == image.tobytes()


def test_it_shares_its_components_with_other_pipelines(session: Session, flux: Path) -> None:
    session.run(text_to_image(flux, configuration={"component_type": "FluxPipeline"}))
    first = session.hashes(modular(flux))
    assert (session.loaded, session.dropped) == ((), ())
    assert session.hashes(modular(flux, configuration={"component_type": "FluxModularPipeline"}))
    assert session.hashes(modular(flux)) == first
    assert session.reason == "changed"


def test_an_index_may_name_components_of_another_repository(
    session: Session, flux: Path, repository: Path
) -> None:
    session.allowed = (*session.allowed, repository)
    images = session.hashes(modular(flux))
    assert session.hashes(modular(repository)) == images
    assert session.loaded == ()


@pytest.mark.parametrize("output", ["images", ["images"], None])
def test_what_the_call_gives_is_named_by_output(warm: Session, flux: Path, output: object) -> None:
    given = {} if output is None else {"output": output}
    [image] = warm.run(modular(flux, arguments=given)).outputs
    assert (image.width, image.height) == (64, 64)


def test_only_the_named_components_are_loaded(session: Session, flux: Path) -> None:
    names_of_text = ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"]
    loads = {"names": names_of_text, "dtype": "torch.bfloat16"}
    session.fail(modular(flux, configuration={"load_components": loads}))
    assert names(session) == [f"gen.{name}" for name in names_of_text]
    dtypes = {row.name: row.dtype for row in session.engine.memory().components}
    assert dtypes["gen.text_encoder"] == "bfloat16"


def test_components_have_dtypes_by_name(session: Session, flux: Path) -> None:
    by_name = {"default": "torch.bfloat16", "text_encoder": "torch.float16"}
    loads = {"names": ["text_encoder", "text_encoder_2"], "dtype": by_name}
    session.fail(modular(flux, configuration={"load_components": loads}))
    dtypes = {row.name: row.dtype for row in session.engine.memory().components}
    assert dtypes == {"gen.text_encoder": "float16", "gen.text_encoder_2": "bfloat16"}


def test_components_are_quantized_by_name(session: Session, flux: Path) -> None:
    quantization = {
        "configuration": {"config_type": "QuantoConfig"},
        "arguments": {"weights_dtype": "{int8}"},
    }
    loads = {"quantization_config": {"transformer": quantization}}
    document = modular(flux, configuration={"load_components": loads})
    plain = session.hashes(modular(flux))
    assert session.hashes(document) != plain
    assert session.loaded == ("gen.transformer",)


def test_a_rehearsal_tells_which_component_it_does_not_quantize(session: Session) -> None:
    loads = {"quantization_config": {"transformer": GGUF}}
    model = "black-forest-labs/FLUX.1-dev"
    session.run(modular(model, configuration={"load_components": loads}), rehearse=True)
    told = [warning for warning in session.warnings if "GGUF" in warning]
    assert told == [
        "'transformer' is rehearsed without GGUFQuantizationConfig: "
        "the stand-ins are not GGUF files"
    ]


def test_a_component_of_its_own_takes_the_place_of_another(
    session: Session, flux: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(flux / "vae", tmp_path / "own-vae"))
    override = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": str(own)},
    }
    before = session.hashes(modular(flux))
    assert session.hashes(modular(flux, vae=override)) == before
    assert session.loaded == session.dropped == ("gen.vae",)


def test_a_workflow_of_the_blocks_needs_fewer_components(session: Session, sdxl: Path) -> None:
    whole = session.hashes(modular(sdxl))
    loads = {"workflow": "text2image"}
    assert session.hashes(modular(sdxl, from_pretrained_arguments=loads)) == whole
    assert session.loaded == ()


def test_the_settings_of_the_blocks_are_set(session: Session, sdxl: Path) -> None:
    with_zeros = {"force_zeros_for_empty_prompt": True}
    plain = session.hashes(modular(sdxl))
    assert plain == session.hashes(modular(sdxl, configuration={"configs": with_zeros}))
    without = {"force_zeros_for_empty_prompt": False}
    assert session.hashes(modular(sdxl, configuration={"configs": without})) != plain


def test_a_scheduler_takes_the_place_of_the_model_s(session: Session, sdxl: Path) -> None:
    ddim = {"configuration": {"scheduler_type": "DDIMScheduler"}}
    plain = session.hashes(modular(sdxl))
    assert session.hashes(modular(sdxl, scheduler=ddim)) != plain
    assert session.hashes(modular(sdxl)) == plain


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_cancel_the_image_is_the_same(session: Session, sdxl: Path, step: int) -> None:
    before = session.hashes(modular(sdxl))
    stopped = session.cancel(modular(sdxl), CancelsAt(step))
    assert (stopped.step, stopped.steps) == (step, 4)
    assert session.hashes(modular(sdxl)) == before
    assert session.loaded == ()


def test_a_reference_calls_it_again(session: Session, flux: Path) -> None:
    again = {"reference_name": "gen", "arguments": {**CALL, "prompt": "a dog"}}
    step = {"name": "again", "pipeline_reference": again, "result": {"content_type": "image/png"}}
    first = modular(flux)["steps"][0]
    alone = modular(flux, arguments={"prompt": "a dog"})
    assert session.hashes(workflow(first, step))[1] == session.hashes(alone)[0]


def test_its_components_come_to_the_device_when_they_run(
    session: Session, flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = session.hashes(modular(flux))
    for key, value in (
        ("components_manager", {"enable_auto_cpu_offload": True, "memory_reserve_margin": "1MB"}),
        ("offload", "model"),
    ):
        fresh = on_a_gpu(Session(Engine(), session.folder))
        monkeypatch.setattr(
            TorchDeviceBackend, "mem_get_info", lambda *_: (2**40, 2**40), raising=False
        )
        assert fresh.hashes(modular(flux, configuration={key: value}), device="cuda") == plain
        modules = [c.value for c in fresh.engine._cache.components() if c.spec.placement]
        assert modules
        assert all(isinstance(module._hf_hook, CustomOffloadHook) for module in modules)


def test_it_is_rehearsed(session: Session) -> None:
    for model in ("black-forest-labs/FLUX.1-dev", "stabilityai/stable-diffusion-xl-base-1.0"):
        assert session.run(modular(model), rehearse=True).outputs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arguments": {"promt": "a cat"}},
            "FluxModularPipeline takes no argument 'promt' (did you mean 'prompt'?)",
        ),
        (
            {"arguments": {"num_inference_steps": "few"}},
            "'num_inference_steps' must be an integer, got 'few'",
        ),
        (
            {"from_pretrained_arguments": {"workflow": "text2img"}},
            "FluxAutoBlocks has no workflow 'text2img' (did you mean 'text2image'?)",
        ),
        (
            {"from_pretrained_arguments": {"workflw": "text2image"}},
            "the loader takes no 'workflw' (did you mean 'workflow'?)",
        ),
        (
            {"configuration": {"load_components": {"names": ["vea"]}}},
            "FluxAutoBlocks has no component 'vea' (did you mean 'vae'?)",
        ),
        (
            {"configuration": {"load_components": {"dtype": {"vea": "torch.float16"}}}},
            "FluxAutoBlocks has no component 'vea' (did you mean 'vae'?)",
        ),
        (
            {"from_pretrained_arguments": {"torch_dtype": {"vea": "torch.float16"}}},
            "FluxAutoBlocks has no component 'vea' (did you mean 'vae'?)",
        ),
        (
            {"configuration": {"load_components": {"dtype": {"defualt": "torch.float16"}}}},
            "FluxAutoBlocks has no component 'defualt' (did you mean 'default'?)",
        ),
        (
            {"configuration": {"load_components": {"quantization_config": {"vea": GGUF}}}},
            "FluxAutoBlocks has no component 'vea' (did you mean 'vae'?)",
        ),
        (
            {"configuration": {"configs": {"zeros": True}}},
            "FluxAutoBlocks has no setting 'zeros'; it has none",
        ),
        (
            {"configuration": {"offload": "sequential"}},
            "a modular pipeline offloads whole models only: offload is 'model'",
        ),
        (
            {"configuration": {"enable_attention_slicing": True}},
            "a modular pipeline cannot compute attention in slices",
        ),
        (
            {"audio_scheduler": {"shift": 3}},
            "FluxAutoBlocks has no component 'audio_scheduler' (did you mean 'scheduler'?)",
        ),
    ],
)
@pytest.mark.parametrize("component_type", ["ModularPipeline", "FluxModularPipeline"])
def test_what_the_blocks_do_not_have_is_told_before_anything_loads(
    warm: Session, flux: Path, component_type: str, changes: Any, message: str
) -> None:
    configuration = {"component_type": component_type, **changes.get("configuration", {})}
    document = modular(flux, **{**changes, "configuration": configuration})
    if component_type == "ModularPipeline":  # its blocks are known once the index is
        assert warm.fail(document).message == message
        assert warm.seen(Loading) == []
    else:
        problems = warm.engine.check(warm.document(document))
        assert [problem.message for problem in problems] == [message]


def test_an_index_cannot_import_what_is_not_known(session: Session, repository: Path) -> None:
    evil = Path(shutil.copytree(repository, session.folder / "evil"))
    index = json.loads((evil / "modular_model_index.json").read_text())
    index["vae"][2]["type_hint"] = ["subprocess", "Popen"]
    (evil / "modular_model_index.json").write_text(json.dumps(index))
    error = session.fail(modular("evil"))
    assert "which is not in the known packages" in error.message


def test_blocks_that_are_code_need_trust(session: Session, repository: Path) -> None:
    own = Path(shutil.copytree(repository, session.folder / "own"))
    (own / "modular_config.json").write_text(
        json.dumps({"auto_map": {"ModularPipelineBlocks": "block.Own"}})
    )
    (own / "block.py").write_text("raise SystemExit('it ran')")
    error = session.fail(modular("own"))
    assert "are code of its own" in error.message
    assert error.hints == (TrustWorkflow("you trust it"),)


def test_a_model_without_blocks_is_told(session: Session, sd15: Path) -> None:
    error = session.fail(modular(sd15))
    assert "cannot be built as a modular pipeline" in error.message
