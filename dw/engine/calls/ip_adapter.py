"""IP-Adapters: images as prompts. Before each call, the adapter on a pipeline's denoiser is changed
to the one that the workflow names.

An adapter replaces the attention processors of a model that other pipelines share. It is named by
the content of its file. The very objects that it replaces are kept and put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.loaders import FluxIPAdapterMixin
from safetensors import safe_open
from transformers import CLIPImageProcessor

from dw.engine.models.context import LoadContext, stand_in_folder
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.source import refuse_pickles
from dw.engine.models.spec import ComponentSpec
from dw.errors import RunFailed, told
from dw.rehearsal import stand_in_ip_adapter
from dw.workflow.format.pipeline import Pipeline

PLACES = ("encoder_hid_proj", "text_encoder_hid_proj", "image_proj")
"""Where models keep the layers that make tokens of the image."""

IMAGE_SIZE = 224
"""Pixels of CLIP's images, for adapters without an encoder."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class IpAdapterFile:
    """An IP-Adapter for a pipeline. `name` stands for the content of its file."""

    name: Fingerprint
    path: Path
    scale: Any
    title: str


def find_ip_adapter(
    pipeline: Pipeline, context: LoadContext, encoder: ComponentSpec | None
) -> IpAdapterFile | None:
    """The IP-Adapter that a pipeline should have; downloads its file. `encoder`: the pipeline's
    image encoder. Raises RunFailed for a pickle, which needs trust."""
    adapter = pipeline.ip_adapter
    if adapter is None:
        return None
    title = f"{adapter.model_name}/{adapter.weight_name or ''}".rstrip("/")
    if context.rehearse and encoder is not None:
        path = stand_in_ip_adapter(stand_in_folder(pipeline), encoder.source, title)
    else:
        inside = "/".join(filter(None, (adapter.subfolder, adapter.weight_name))) or None
        path = context.sources.file(adapter.model_name, inside, access=context.access, options={})
        if not context.trust:
            refuse_pickles(path)
    return IpAdapterFile(Fingerprint.of(path), path, adapter.scale, title)


@dataclass(frozen=True, slots=True)
class _Before:
    """A model without the adapter `name`."""

    name: Fingerprint
    processors: Mapping[str, Any]
    places: Mapping[str, Any]
    kind: Any  # config.encoder_hid_dim_type

    @classmethod
    def of(cls, model: Any, name: Fingerprint) -> _Before:
        places = {place: getattr(model, place, _MISSING) for place in PLACES}
        kind = getattr(model.config, "encoder_hid_dim_type", None)
        return cls(name, dict(model.attn_processors), places, kind)


class IpAdapters:
    """Gives pipelines the adapter that they should have."""

    def __init__(self) -> None:
        self._before: WeakKeyDictionary[torch.nn.Module, _Before] = WeakKeyDictionary()

    def reconcile(self, pipeline: Any, wanted: IpAdapterFile | None) -> None:
        """Raises RunFailed when the adapter does not fit the pipeline, which then has none."""
        for model in _models(pipeline):
            before = self._before.get(model)
            if before is not None and not (wanted and before.name == wanted.name and _is_on(model)):
                self._remove(model)
        if wanted is None:
            return
        if not hasattr(pipeline, "load_ip_adapter"):
            raise RunFailed(f"{type(pipeline).__name__} takes no IP-Adapter")
        self._prepare_images(pipeline)
        if not any(model in self._before for model in _models(pipeline)):
            self._load(pipeline, wanted)
        try:
            pipeline.set_ip_adapter_scale(1.0 if wanted.scale is None else wanted.scale)
        except (TypeError, ValueError) as error:
            raise RunFailed(
                f"the scale {wanted.scale} of the IP-Adapter {wanted.title!r} names blocks that "
                f"{type(pipeline).__name__} does not have",
                hints=[
                    'a number, or for a UNet {"down": {"block_2": [0, 1]}, "mid": 1, "up": 0.5}'
                ],
            ) from error

    def _load(self, pipeline: Any, wanted: IpAdapterFile) -> None:
        _reject_face_id(wanted)
        for model in _models(pipeline):
            if hasattr(model, "_load_ip_adapter_weights"):
                self._before[model] = _Before.of(model, wanted.name)
        # None stops diffusers from loading the image encoder, which is a component.
        is_flux = isinstance(pipeline, FluxIPAdapterMixin)
        encoder = (
            "image_encoder_pretrained_model_name_or_path" if is_flux else "image_encoder_folder"
        )
        folder, name = str(wanted.path.parent), wanted.path.name
        try:
            with wanted.name.reading():
                pipeline.load_ip_adapter(folder, subfolder="", weight_name=name, **{encoder: None})
        except BaseException as error:
            for model in _models(pipeline):
                self._remove(model)
            if isinstance(error, KeyError | RuntimeError | ValueError):
                raise RunFailed(
                    f"the IP-Adapter {wanted.title!r} does not fit {type(pipeline).__name__}: "
                    + told(error)
                ) from error
            raise

    def _remove(self, model: torch.nn.Module) -> None:
        before = self._before.pop(model, None)
        if before is None:
            return
        model.set_attn_processor(dict(before.processors))  # type: ignore[operator]
        for name, value in before.places.items():
            if value is not _MISSING:
                setattr(model, name, value)
            elif hasattr(model, name):
                delattr(model, name)
        model.config.encoder_hid_dim_type = before.kind  # type: ignore[union-attr]

    @staticmethod
    def _prepare_images(pipeline: Any) -> None:
        """Give a pipeline the processor that scales images to the encoder's size, as diffusers does
        when it loads an adapter with its encoder."""
        if getattr(pipeline, "feature_extractor", _MISSING) is None:
            encoder = getattr(pipeline, "image_encoder", None)
            size = IMAGE_SIZE if encoder is None else encoder.config.image_size
            pipeline.feature_extractor = CLIPImageProcessor(size=size, crop_size=size)


def _models(pipeline: Any) -> Iterator[torch.nn.Module]:
    return (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))


def _is_on(model: Any) -> bool:
    """Whether the adapter's processors are still there: recovery after a run puts back others."""
    processors = model.attn_processors.values()
    return any("IPAdapter" in type(processor).__name__ for processor in processors)


def _reject_face_id(wanted: IpAdapterFile) -> None:
    """FaceID adapters bring LoRAs, which the next call would remove as unwanted ones."""
    if wanted.path.suffix == ".safetensors":
        with safe_open(wanted.path, framework="pt") as file:
            keys = file.keys()
            if any(".lora" in key or "_lora" in key for key in keys):
                raise RunFailed(f"{wanted.title!r} is a FaceID adapter, which is not supported")
