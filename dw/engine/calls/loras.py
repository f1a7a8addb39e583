"""LoRAs: before each call, the adapters on a pipeline's models are changed to those that the
workflow names.

The models are shared by every pipeline, so the adapters of the last call are still there. They are
named by the content of their file. Nothing is ever fused: unfusing does not give the same bits
back.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers import DiffusionPipeline

from dw.engine.models.context import LoadContext, stand_in_folder
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.source import refuse_pickles
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


def find_loras(pipeline: Pipeline, context: LoadContext) -> list[LoraAdapter]:
    """The LoRAs that a pipeline should have; downloads their files. Raises RunFailed for a pickle,
    which needs trust."""
    is_stood_in = bool(pipeline.loras) and context.needs_stand_in(pipeline)
    stand_in = stand_in_folder(pipeline) if is_stood_in else None
    found: list[LoraAdapter] = []
    for lora in pipeline.loras:
        if stand_in is not None:
            path = stand_in_lora(stand_in, lora.model_name, lora.weight_name)
        else:
            inside = "/".join(filter(None, (lora.subfolder, lora.weight_name))) or None
            path = context.sources.file(lora.model_name, inside, access=context.access, options={})
            if not context.trust:
                refuse_pickles(path)
        fingerprint = Fingerprint.of(path)
        title = lora.adapter_name or f"{lora.model_name}/{lora.weight_name or ''}".rstrip("/")
        found.append(LoraAdapter(f"dw_{fingerprint}", path, lora.scale, title, fingerprint))
    return found


class LoraAdapters:
    """Gives pipelines the adapters that they should have."""

    def __init__(self) -> None:
        # For each adapter, the components that its file has weights for.
        self._access: dict[str, frozenset[str]] = {}

    def reconcile(self, pipeline: DiffusionPipeline, wanted: Sequence[LoraAdapter]) -> None:
        """Raises RunFailed when an adapter does not fit the pipeline, which then has none."""
        if not hasattr(pipeline, "load_lora_weights"):
            if wanted:
                raise RunFailed(f"{type(pipeline).__name__} takes no LoRA")
            # It may share a model with a pipeline that has some.
            for component in pipeline.components.values():
                if getattr(component, "peft_config", None) and hasattr(component, "unload_lora"):
                    component.unload_lora()
            return
        if not wanted:
            if pipeline.get_list_adapters():
                pipeline.unload_lora_weights()
            return
        if _access(pipeline) != {
            adapter.name: self._access.get(adapter.name) for adapter in wanted
        }:
            self._load(pipeline, wanted)
        scales: dict[str, float] = {}
        for adapter in wanted:
            scales[adapter.name] = scales.get(adapter.name, 0.0) + adapter.scale
        # Always set, as a cancelled call may have left a text encoder's adapter scaled.
        pipeline.set_adapters(list(scales), adapter_weights=list(scales.values()))

    def _load(self, pipeline: DiffusionPipeline, wanted: Sequence[LoraAdapter]) -> None:
        try:
            pipeline.unload_lora_weights()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # peft warns of a second adapter
                for adapter in {a.name: a for a in wanted}.values():
                    with adapter.fingerprint.reading():
                        pipeline.load_lora_weights(
                            str(adapter.path.parent),
                            weight_name=adapter.path.name,
                            adapter_name=adapter.name,
                        )
        except BaseException:
            pipeline.unload_lora_weights()  # half of an adapter would change every later image
            raise
        self._access |= _access(pipeline)
        for adapter in wanted:
            if not self._access.get(adapter.name):
                raise RunFailed(
                    f"the LoRA {adapter.title!r} has no weights for {type(pipeline).__name__}"
                )


def _access(pipeline: DiffusionPipeline) -> dict[str, frozenset[str]]:
    """For each adapter on the pipeline, the components that it is on."""
    listed = pipeline.get_list_adapters()
    adapters = {name for names in listed.values() for name in names}
    return {a: frozenset(c for c, names in listed.items() if a in names) for a in adapters}
