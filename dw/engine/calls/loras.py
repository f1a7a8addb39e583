"""LoRAs: the adapters on a pipeline's models that the workflow names.

They are named by the content of their file. Nothing is ever fused: unfusing does not give the same
bits back.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import getsource
from pathlib import Path
from typing import Any

from dw.engine.models.context import LoadContext, stand_in_folder
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.lora_file import check_lora, files_of, readable
from dw.engine.models.mapped_files import detach
from dw.engine.models.model_state import Change, Layer
from dw.engine.models.weights_file import Meant, check_weights
from dw.engine.patches.adapter_keys import Keys, recorded
from dw.engine.patches.weight_keys import some
from dw.errors import RunFailed
from dw.rehearsal import stand_in_lora
from dw.workflow.format.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class LoraAdapter:
    name: str  # stands for the content of the file
    path: Path
    scale: float
    title: str  # in messages
    fingerprint: Fingerprint
    allows_unused: bool = False  # weights that the pipeline has no place for


def find_loras(cls: Any, pipeline: Pipeline, context: LoadContext) -> list[LoraAdapter]:
    """The LoRAs that a pipeline of class `cls` should have; downloads their files. Raises RunFailed
    for what is no LoRA, and for a pickle, which needs trust."""
    is_stood_in = bool(pipeline.loras) and context.needs_stand_in(pipeline)
    stand_in = stand_in_folder(pipeline) if is_stood_in else None
    found: list[LoraAdapter] = []
    for lora in pipeline.loras:
        title = lora.adapter_name or "/".join(filter(None, (lora.model_name, lora.weight_name)))
        if stand_in is not None:
            path = stand_in_lora(stand_in, lora.model_name, lora.weight_name)
        else:
            inside = "/".join(filter(None, (lora.subfolder, lora.weight_name))) or None
            path = context.sources.file(lora.model_name, inside, access=context.access, options={})
            meant: Meant = "LoKr" if _takes_lokrs(cls) else "LoRA"
            check_weights(path, meant, trust=context.trust, title=title)
            check_lora(path, title)
        fingerprint = Fingerprint.of(*files_of(path))
        found.append(
            LoraAdapter(
                f"dw_{fingerprint}",
                path,
                lora.scale,
                title,
                fingerprint,
                allows_unused=lora.allow_unused_weights,
            )
        )
    return found


def _takes_lokrs(cls: Any) -> bool:
    """Whether diffusers reads LoKrs for a pipeline, as for those of Flux 2 and Z-Image."""
    read = getattr(cls, "lora_state_dict", None)
    return read is not None and "lokr" in getsource(read)


def lora_changes(cls: Any, wanted: Sequence[LoraAdapter]) -> Iterator[Change]:
    """The adapters on a pipeline of this class, and their scales. Raises RunFailed for a class that
    takes none."""
    if not wanted:
        return
    if not hasattr(cls, "load_lora_weights"):
        raise RunFailed(f"{cls.__name__} takes no LoRA")
    models = frozenset(cls._lora_loadable_modules)
    adapters = {adapter.name: adapter for adapter in wanted}  # one file may be named twice
    scales = dict.fromkeys(adapters, 0.0)
    for adapter in wanted:
        scales[adapter.name] += adapter.scale
    put = partial(_load, adapters=tuple(adapters.values()))
    wants = tuple((name, adapter.allows_unused) for name, adapter in adapters.items())
    yield Change(Layer.LORA, "loras", wants, models, put)
    scaled = partial(_set_scales, scales=scales)
    yield Change(Layer.LORA_SCALE, "scales", tuple(scales.items()), models, scaled)


def _load(pipeline: Any, *, adapters: Iterable[LoraAdapter]) -> None:
    for adapter in adapters:
        with adapter.fingerprint.reading(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # peft warns of a second adapter
            weights = readable(adapter.path, pipeline)
            named = {"weight_name": adapter.path.name} if weights is None else {}
            source = str(adapter.path.parent) if weights is None else weights
            with recorded(pipeline) as keys:
                pipeline.load_lora_weights(source, **named, adapter_name=adapter.name)
            detach(pipeline.components.values(), adapter.fingerprint)
        if not any(adapter.name in names for names in pipeline.get_list_adapters().values()):
            raise RunFailed(
                f"the LoRA {adapter.title!r} has no weights for {type(pipeline).__name__}"
            )
        if keys.unused and not adapter.allows_unused:
            raise _unused(adapter, keys, type(pipeline))


def _unused(adapter: LoraAdapter, keys: Keys, cls: type) -> RunFailed:
    return RunFailed(
        f"{len(keys.unused)} of the {keys.count} weights of the LoRA {adapter.title!r} have no "
        f"place in {cls.__name__}: {some(keys.unused)}",
        hints=[
            "it may have been made for another model",
            '"allow_unused_weights": true   beside its model_name leaves them out',
        ],
    )


def _set_scales(pipeline: Any, *, scales: Mapping[str, float]) -> None:
    pipeline.set_adapters(list(scales), adapter_weights=list(scales.values()))
