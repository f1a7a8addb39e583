"""What a warm run pays to know that its models and their files are as it left them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench.table import Row, milliseconds
from dw.events import Run
from dw.workflow import validate_file

EXAMPLE = Path(__file__).parent.parent / "examples" / "test.json"
TIMES = 200

SDXL_UNET = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
CLIP_G = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20}
T5_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}


def _published() -> dict[str, dict[str, Any]]:
    """Models of the size that they are published in; without numbers, which are not compared."""
    import torch
    from diffusers import AutoencoderKL, FluxTransformer2DModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    with torch.device("meta"):
        shared = {"vae": AutoencoderKL(**VAE), "text_encoder": CLIPTextModel(CLIPTextConfig())}
        sdxl = {
            "unet": UNet2DConditionModel(**SDXL_UNET),
            "text_encoder_2": CLIPTextModel(CLIPTextConfig(**CLIP_G)),
        }
        flux = {
            "transformer": FluxTransformer2DModel(guidance_embeds=True),
            "text_encoder_2": T5EncoderModel(T5Config(**T5_XXL)),
        }
    return {"SDXL": shared | sdxl, "Flux": shared | flux}


def compared_models() -> list[Row]:
    from dw.engine.models.model_state import ModelState, changed_models

    rows = []
    for name, models in _published().items():
        states = {part: ModelState(model) for part, model in models.items()}
        pipeline = type("Pipeline", (), models)
        assert not changed_models(pipeline, states)
        rows.append(
            _row(
                f"all models of {name}, compared before a call",
                lambda pipeline=pipeline, states=states: changed_models(pipeline, states),
                lambda models=models: [list(model.modules()) for model in models.values()],
            )
        )
    return rows


def compared_in_a_warm_run() -> list[Row]:
    import torch

    from dw.engine import Engine, RunControl
    from dw.engine.models.fingerprint import Fingerprint
    from dw.engine.models.model_state import changed_models

    engine, document = Engine(), validate_file(EXAMPLE).document_or_raise()
    with TemporaryDirectory() as folder:
        run = Run(1, str(EXAMPLE), EXAMPLE.read_text(), {}, folder, device="cpu", rehearse=True)
        engine.run(document, run, control=RunControl(), emit=[].append)
    cache = engine._cache
    found = {component.label: component for component in cache.components()}
    states = {name: component.state for name, component in found.items()}
    pipeline = type("Pipeline", (), {name: each.value for name, each in found.items()})

    def check() -> None:
        for component in found.values():
            of = component.spec.fingerprint
            assert Fingerprint.of(*of.sources, configs=of.configs) == of
        assert not changed_models(pipeline, states)
        assert not cache.drop_changed()

    models = [each.value for each in found.values() if isinstance(each.value, torch.nn.Module)]
    what = "all checks of models and files of a warm run (tiny Stable Diffusion)"
    return [_row(what, check, lambda: [list(model.modules()) for model in models])]


def _row(what: str, check: Callable[[], object], walk: Callable[[], object]) -> Row:
    """CPU time, in turns with a bare walk over the modules, which says how fast the machine is."""
    ours, walks = [], []
    for _ in range(TIMES):
        ours.append(_timed(check))
        walks.append(_timed(walk))
    ratio = median(a / b for a, b in zip(ours, walks, strict=True))
    bare = f"`modules()` of them {milliseconds(median(walks))}"
    return Row(what, f"{milliseconds(median(ours))} ({ratio:.1f}x)", bare, "≤ 2 ms")


def _timed(work: Callable[[], object]) -> float:
    began = time.thread_time()  # nothing in it waits, and a busy machine is not counted
    work()
    return time.thread_time() - began


MEASURES = (compared_in_a_warm_run, compared_models)
