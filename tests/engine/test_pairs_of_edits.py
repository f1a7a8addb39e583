"""Every ordered pair of edits: what is drawn after one is what is drawn without it, bit for bit.

A walk visits each ordered pair of a family's edits once, in one engine. After each edit its run is
compared with one in an engine that holds nothing: it draws the same, or fails with the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.engine import Engine
from dw.engine.models import placement_plan
from dw.errors import DwError
from tests.engine.session import Json, Session, merged, on_a_gpu, text_to_image

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`upcast_vae` is deprecated:FutureWarning"),
]


def configured(**configuration: Any) -> Json:
    return {"configuration": configuration}


def of(component: str, **settings: Any) -> Json:
    return configured(components={component: settings})


def lora(*scales: float) -> Json:
    """A LoRA for each scale, every one another."""
    files = [f"lora/{number}" for number in range(len(scales))]
    named = zip(files, scales, strict=True)
    weights = {"weight_name": "x.safetensors"}
    return {"loras": [{"model_name": name, "scale": s, **weights} for name, s in named]}


def ip_adapter(name: str = "an/adapter", scale: object = 1.0) -> Json:
    adapter = {"model_name": name, "weight_name": "plain.safetensors", "scale": scale}
    return {"ip_adapter": adapter, "arguments": {"ip_adapter_image": "red.png"}}


def group(**options: Any) -> Json:
    return {"offload_type": "leaf_level", **options}


def cached(kind: str, **options: Any) -> Json:
    return configured(cache={"type": kind, **options})


ATTENTION = "diffusers.models.attention_processor.AttnProcessor"
IP_AND_LORA = merged(ip_adapter(), lora(1.0))
ON_DISK = configured(group_offload=group(offload_to_disk_path="offloaded"))
ANY: dict[str, Json] = {
    "plain": {},
    "a LoRA": lora(1.0),
    "its scale": lora(0.5),
    "two LoRAs": lora(1.0, 0.5),
    "slicing": configured(enable_attention_slicing=True),
    "VAE tiling": configured(vae={"enable_tiling": True, "enable_slicing": True}),
    "VAE layout": configured(vae={"channels_last": True}),
    "casting": configured(enable_layerwise_casting={"storage_dtype": "torch.float8_e4m3fn"}),
    "float16": {"from_pretrained_arguments": {"torch_dtype": "torch.float16"}},
    "groups": configured(group_offload=group()),
    "groups on disk": ON_DISK,
    "groups on disk, a LoRA": merged(ON_DISK, lora(1.0)),
    "whole models": configured(offload="model"),
    "backend of the call": configured(attention_backend="_native_math"),
}
IP_ADAPTERS: dict[str, Json] = {
    "an IP-Adapter": ip_adapter(),
    "another IP-Adapter": ip_adapter("another/adapter"),
    "its scale as a number": ip_adapter(scale=0.5),
    "IP-Adapter and LoRA": IP_AND_LORA,
    "IP-Adapter, slicing": merged(ip_adapter(), configured(enable_attention_slicing=True)),
}
UNET: dict[str, Json] = {
    **ANY,
    **IP_ADAPTERS,
    "its scale by block": ip_adapter(scale={"up": 0.0, "down": 1.0}),
    "processor": configured(unet={"attn_processor_type": ATTENTION}),
    "processor, IP-Adapter": merged(
        ip_adapter(), configured(unet={"attn_processor_type": ATTENTION})
    ),
    "FreeU": configured(freeu={"s1": 0.6, "s2": 0.4, "b1": 1.1, "b2": 1.2}),
    "layout": configured(unet={"channels_last": True}),
    "backend": of("unet", attention_backend="_native_math"),
    "compiled": of("unet", compile={"backend": "eager"}),
    "on demand": of("unet", residency="on_demand"),
    "PAG": {"arguments": {"pag_scale": 3.0}},  # with the class of the family
    "LoRA of the call": merged(
        lora(1.0), {"arguments": {"cross_attention_kwargs": {"scale": 0.25}}}
    ),
}
TRANSFORMER: dict[str, Json] = {
    **ANY,
    "backend": of("transformer", attention_backend="_native_math"),
    "compiled": of("transformer", compile={"backend": "eager"}),
    "on demand": of("transformer", residency="on_demand"),
    "first block": cached("first_block", threshold=0.5),
    "taylorseer": cached("taylorseer", cache_interval=2, disable_cache_before_step=1),
    "faster": cached("faster", spatial_attention_timestep_skip_range=[-1, 1001]),
}
WAN: dict[
    str, Json
] = {  # its VAE has five dimensions, its calls an order that `faster` cannot read
    edit: change for edit, change in TRANSFORMER.items() if edit not in ("VAE layout", "faster")
}
FLUX_CLASSES = "diffusers.models.transformers.transformer_flux"
FLUX: dict[str, Json] = {
    **TRANSFORMER,
    **IP_ADAPTERS,
    "processor": configured(
        transformer={"attn_processor_type": f"{FLUX_CLASSES}.FluxAttnProcessor"}
    ),
    "IP-Adapter, backend": merged(
        ip_adapter(), of("transformer", attention_backend="_native_math")
    ),
    "mag": cached("mag", threshold=0.5, max_skip_steps=2, retention_ratio=0.1),
    "teacache": configured(teacache={"rel_l1_thresh": 0.4}),
    "prompt weights": merged(
        configured(prompt_weighting=True), {"arguments": {"prompt": "a (cat:1.5)"}}
    ),
}
FAMILIES = {
    "StableDiffusionPipeline": UNET,
    "StableDiffusionXLPipeline": UNET,
    "FluxPipeline": FLUX,
    "WanPipeline": WAN,
}
SHORT = {
    "StableDiffusionPipeline": [
        "plain",
        "its scale by block",
        "slicing",
        "processor",
        "two LoRAs",
        "groups on disk, a LoRA",
        "PAG",
    ],
    "StableDiffusionXLPipeline": [
        "float16",
        "a LoRA",
        "FreeU",
        "another IP-Adapter",
        "layout",
        "PAG",
    ],
    "FluxPipeline": [
        "plain",
        "IP-Adapter, backend",
        "its scale",
        "teacache",
        "groups on disk",
        "compiled",
    ],
    "WanPipeline": ["plain", "a LoRA", "casting", "taylorseer", "backend"],
}
"""What is walked each time; `long` walks them all."""


def walk(count: int) -> Iterator[int]:
    """Numbers below `count`: neighbours are each ordered pair, once. A circuit through the complete
    directed graph, after Hierholzer."""
    unused = {node: [other for other in range(count) if other != node] for node in range(count)}
    stack, found = [0], []
    while stack:
        if rest := unused[stack[-1]]:
            stack.append(rest.pop())
        else:
            found.append(stack.pop())
    return reversed(found)


def test_a_walk_meets_each_pair_once() -> None:
    steps = list(walk(5))
    pairs = list(pairwise(steps))
    assert sorted(pairs) == [(a, b) for a in range(5) for b in range(5) if a != b]


def document(family: str, edit: str) -> Json:
    cls = family if edit != "PAG" else family.replace("Pipeline", "PAGPipeline")
    arguments: Json = {"num_inference_steps": 2}
    if family == "WanPipeline":
        arguments |= {"width": 32, "height": 32, "num_frames": 5}
    whole = merged(configured(component_type=cls), {"arguments": arguments})
    made = text_to_image("any/model", **merged(whole, FAMILIES[family][edit]))
    if family == "WanPipeline":
        made["steps"][0]["result"] = {"content_type": "video/mp4"}
    return made


def outcome(session: Session, workflow: Json) -> list[str] | str:
    """What the run draws, or how it fails."""
    try:
        return session.hashes(workflow, rehearse=True)
    except DwError as error:
        message = error.with_traceback(None).message
    session.engine.recover()
    return message


@pytest.fixture
def rehearses_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rehearsal leaves compilation out, which takes long with other backends than `eager`."""
    builder = placement_plan._PlanBuilder
    compiled = builder._compiled

    def with_it(self: Any, *each: Any) -> Any:
        context, rehearsing = self.context, self.context.rehearse
        object.__setattr__(context, "rehearse", False)
        yield from compiled(self, *each)
        object.__setattr__(context, "rehearse", rehearsing)

    monkeypatch.setattr(builder, "_compiled", with_it)


@pytest.mark.usefixtures("rehearses_compiled")
@pytest.mark.parametrize("size", ["short", pytest.param("whole", marks=pytest.mark.long)])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_edit_leaves_anything_to_the_next(family: str, size: str, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    edits = SHORT[family] if size == "short" else list(FAMILIES[family])
    workflows = [document(family, edit) for edit in edits]

    def fresh() -> Session:
        return on_a_gpu(Session(Engine(), tmp_path))

    cold = [outcome(fresh(), workflow) for workflow in workflows]
    failed = {
        edit: found for edit, found in zip(edits, cold, strict=True) if isinstance(found, str)
    }
    assert failed == {}
    warm, before, different = fresh(), "nothing", []
    for step in walk(len(edits)):
        if outcome(warm, workflows[step]) != cold[step]:
            different.append(f"{edits[step]}, after {before}")
            warm = fresh()  # the next pairs are looked at for themselves
        before = edits[step]
    assert different == []
