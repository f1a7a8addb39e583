"""Quantized components. What a machine does not have is named, with the extra that installs it."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file
from transformers import T5Config, T5EncoderModel

from dw.engine import Engine
from dw.engine.models.quantization import built, quantization_spec
from dw.engine.models.spec import QuantizationSpec
from dw.errors import DwError
from dw.extras import EXTRAS
from dw.workflow.format.placement import Quantization
from tests.engine.session import CancelsAt, Json, Session, merged, text_to_image

FLUX = {"component_type": "FluxPipeline"}
INT8 = "torchao.quantization.Int8WeightOnlyConfig"
SMALL = {"minimum_allowed_numel": 0, "minimum_allowed_channel_size": 0}  # SDNQ skips such layers
BACKENDS: list[tuple[str, str, Json]] = [
    ("optimum", "QuantoConfig", {"weights_dtype": "{int8}"}),
    ("sdnq", "sdnq.SDNQConfig", {"weights_dtype": "{uint4}", **SMALL}),
    ("torchao", "TorchAoConfig", {"quant_type": INT8}),
]

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Quanto.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:(torchao|optimum|sdnq)"),
]


def quantized(model: Path, config_type: str, arguments: Json, **loads: Any) -> Json:
    """A workflow whose transformer is quantized."""
    loads = loads or {"model_name": str(model)}
    document = text_to_image(model, configuration=FLUX)
    document["steps"][0]["pipeline"]["transformer"] = {
        "configuration": {"component_type": "FluxTransformer2DModel"},
        "from_pretrained_arguments": {"subfolder": "transformer", **loads},
        "quantization_config": {
            "configuration": {"config_type": config_type},
            "arguments": arguments,
        },
    }
    return document


def whole(model: Path, **arguments: Any) -> Json:
    quantization = {
        "configuration": {"config_type": "PipelineQuantizationConfig"},
        "arguments": arguments,
    }
    return text_to_image(model, configuration={**FLUX, "quantization_config": quantization})


def of_transformer(config_type: str, arguments: Json) -> Json:
    quantization = {"configuration": {"config_type": config_type}, "arguments": arguments}
    return {"quant_mapping": {"transformer": quantization}}


@pytest.mark.parametrize(("package", "config_type", "arguments"), BACKENDS)
def test_a_backend_quantizes(
    session: Session, flux: Path, package: str, config_type: str, arguments: Json
) -> None:
    document = quantized(flux, config_type, arguments)
    plain = session.hashes(text_to_image(flux, configuration=FLUX))
    images = session.hashes(document)
    assert session.loaded == session.dropped == ("gen.transformer",)
    assert images != plain
    assert session.hashes(document) == images
    assert session.loaded == ()
    assert Session(Engine(), session.folder).hashes(document) == images
    assert session.hashes(whole(flux, **of_transformer(config_type, arguments))) == images
    assert session.loaded == ()
    memory = {row.name: row.nbytes for row in session.engine.memory().components}
    assert memory["gen.transformer"] > 0
    assert session.engine.clear().survivors == ()


@pytest.mark.parametrize("is_quantized", [False, True])
def test_a_call_of_quantized_weights_is_not_in_inference_mode(
    session: Session, flux: Path, monkeypatch: pytest.MonkeyPatch, is_quantized: bool
) -> None:
    """Some weights cannot be read in it: those of optimum-quanto in 4 bits, for which it compiles a
    library first."""
    modes: set[tuple[bool, bool]] = set()
    forward = FluxTransformer2DModel.forward

    @wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        modes.add((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return forward(*args, **kwargs)

    monkeypatch.setattr(FluxTransformer2DModel, "forward", watched)
    plain = text_to_image(flux, configuration=FLUX)
    int8 = quantized(flux, "QuantoConfig", {"weights_dtype": "{int8}"})
    session.run(int8 if is_quantized else plain)
    assert modes == {(not is_quantized, False)}


@pytest.mark.parametrize(("package", "config_type", "arguments"), BACKENDS)
def test_a_backend_that_is_not_installed_is_named_with_its_extra(
    session: Session,
    flux: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    config_type: str,
    arguments: Json,
) -> None:
    monkeypatch.setattr("dw.extras.is_installed", lambda name: name != package)
    error = session.fail(quantized(flux, config_type, arguments))
    assert f"needs the package '{package}', which is not installed" in str(error)
    assert f"pip install 'dw[{EXTRAS[package]}]'" in str(error)


@pytest.fixture
def encoder(session: Session, sd3: Path) -> Path:
    """A T5 for SD3 whose layers take blocks of 64 weights, as bitsandbytes has in 4 bits."""
    torch.manual_seed(0)
    config = T5Config.from_pretrained(sd3 / "text_encoder_3", d_kv=32)
    T5EncoderModel(config).save_pretrained(session.folder / "t5")
    return session.folder / "t5"


@pytest.mark.parametrize("bits", ["load_in_8bit", "load_in_4bit"])
def test_bitsandbytes_quantizes_a_text_encoder(
    session: Session, sd3: Path, encoder: Path, bits: str
) -> None:
    override: Json = {
        "configuration": {"component_type": "transformers.T5EncoderModel"},
        "from_pretrained_arguments": {"model_name": str(encoder)},
    }
    pipeline = {"component_type": "StableDiffusion3Pipeline"}
    plain = text_to_image(sd3, configuration=pipeline, text_encoder_3=override)
    config = {"config_type": "transformers.BitsAndBytesConfig"}
    quantization = {"configuration": config, "arguments": {bits: True}}
    smaller = merged(plain, {})
    smaller["steps"][0]["pipeline"]["text_encoder_3"]["quantization_config"] = quantization
    before = session.hashes(plain)
    images = session.hashes(smaller)
    assert session.loaded == session.dropped == ("gen.text_encoder_3",)
    assert images != before
    assert session.hashes(smaller) == images
    session.cancel(smaller, CancelsAt(2))
    assert session.hashes(smaller) == images
    assert session.loaded == ()
    assert Session(Engine(), session.folder).hashes(smaller) == images
    assert session.hashes(plain) == before
    assert session.engine.clear().survivors == ()


@pytest.fixture
def checkpoint(session: Session, flux: Path) -> Path:
    """The stand-in's transformer, with the weights of its linear layers in eight bits."""
    path = session.folder / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "flux")
    weights = flux / "transformer" / "diffusion_pytorch_model.safetensors"
    for name, tensor in load_file(weights).items():
        is_linear = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        kind = getattr(gguf.GGMLQuantizationType, "Q8_0" if is_linear else "F32")
        data = gguf.quants.quantize(tensor.numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestGguf:
    CONFIG = "GGUFQuantizationConfig"

    def document(self, flux: Path, checkpoint: Path) -> Json:
        loads = {"from_single_file": str(checkpoint), "config": str(flux)}
        return quantized(flux, self.CONFIG, {"compute_dtype": "torch.float32"}, **loads)

    @pytest.mark.filterwarnings("ignore:.*non-writable:UserWarning")
    def test_a_file_is_loaded_as_it_is_quantized(
        self, session: Session, flux: Path, checkpoint: Path
    ) -> None:
        plain = session.hashes(text_to_image(flux, configuration=FLUX))
        document = self.document(flux, checkpoint)
        images = session.hashes(document)
        assert session.loaded == session.dropped == ("gen.transformer",)
        assert images != plain
        assert session.hashes(document) == images
        assert Session(Engine(), session.folder).hashes(document) == images
        [row] = [r for r in session.engine.memory().components if r.name == "gen.transformer"]
        assert "uint8" in row.dtype

    def test_a_rehearsal_says_that_it_leaves_it_out(
        self, session: Session, flux: Path, checkpoint: Path
    ) -> None:
        session.run(self.document(flux, checkpoint), rehearse=True)
        assert session.warnings == [
            "'transformer' is rehearsed without GGUFQuantizationConfig: "
            "the stand-ins are not GGUF files"
        ]


def test_a_rehearsal_needs_no_backend(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dw.extras.is_installed", lambda package: package != "sdnq")
    model = Path("any/model")
    document = quantized(model, "sdnq.SDNQConfig", {"weights_dtype": "{int8}"})
    document["steps"][0]["pipeline"]["configuration"]["pre_load_modules"] = ["sdnq"]
    session.run(document, rehearse=True)
    assert session.warnings == [
        "rehearsed without it: 'sdnq' needs the package 'sdnq', which is not installed: "
        "pip install 'dw[sdnq]'",
        "'transformer' is rehearsed without sdnq.SDNQConfig: the extra 'sdnq' is not installed",
    ]


def test_other_arguments_are_another_component() -> None:
    def spec(dtype: str) -> QuantizationSpec:
        quantization = Quantization.model_validate(
            {
                "configuration": {"config_type": "GGUFQuantizationConfig"},
                "arguments": {"compute_dtype": dtype},
            }
        )
        return quantization_spec(quantization)

    assert spec("torch.bfloat16") == spec("torch.bfloat16") != spec("torch.float16")
    assert built(spec("torch.bfloat16")).compute_dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("config_type", "arguments", "message"),
    [
        (
            "QuantoConfig",
            {"weigths_dtype": "{int8}"},
            "QuantoConfig takes no argument 'weigths_dtype' (did you mean 'weights_dtype'?)",
        ),
        (
            "BitsAndBytesConfig",
            {"load_in_4bits": True},
            "BitsAndBytesConfig takes no argument 'load_in_4bits' (did you mean 'load_in_4bit'?)",
        ),
        (
            "AutoencoderKL",
            {},
            "'AutoencoderKL' is not a quantization config, such as BitsAndBytesConfig, "
            "GGUFQuantizationConfig, QuantoConfig, SDNQConfig, TorchAoConfig",
        ),
    ],
)
def test_a_wrong_name_is_told_before_anything_loads(
    session: Session, config_type: str, arguments: Json, message: str
) -> None:
    document = session.document(quantized(Path("any/model"), config_type, arguments))
    assert message in [problem.message for problem in session.engine.check(document)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of 'quant_backend' and 'quant_mapping' must be given"),
        ({"quant_backend": "qanto"}, "unknown quant_backend 'qanto' (did you mean 'quanto'?)"),
        ({"quant_mapping": []}, "'quant_mapping' must be an object, got []"),
    ],
)
def test_what_a_whole_pipeline_is_quantized_by(
    session: Session, flux: Path, arguments: Json, message: str
) -> None:
    error: DwError = session.fail(whole(flux, **arguments))
    assert message in str(error)


def test_a_config_of_one_component_is_none_of_a_whole_pipeline(
    session: Session, flux: Path
) -> None:
    quantization = {"configuration": {"config_type": "QuantoConfig"}}
    document = text_to_image(flux, configuration={**FLUX, "quantization_config": quantization})
    assert "it goes beside that component's configuration" in str(session.fail(document))
