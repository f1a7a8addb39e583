"""IP-Adapters: images as prompts. An adapter replaces the attention processors of a pipeline's
denoiser. It is named by the content of its file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from diffusers.loaders import FluxIPAdapterMixin
from safetensors import safe_open
from transformers import CLIPImageProcessor

from dw.engine.models.context import LoadContext, stand_in_folder
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.live_models import modules
from dw.engine.models.mapped_files import detach
from dw.engine.models.model_state import Change, Layer
from dw.engine.models.modifiers import store_again
from dw.engine.models.spec import ComponentSpec
from dw.engine.models.weights_file import check_weights
from dw.errors import RunFailed, told
from dw.rehearsal import stand_in_ip_adapter
from dw.workflow.format.pipeline import Pipeline

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
    title = "/".join(filter(None, (adapter.model_name, adapter.weight_name)))
    if context.rehearse and encoder is not None:
        path = stand_in_ip_adapter(stand_in_folder(pipeline), encoder.source, title)
    else:
        inside = "/".join(filter(None, (adapter.subfolder, adapter.weight_name))) or None
        path = context.sources.file(adapter.model_name, inside, access=context.access, options={})
        check_weights(path, "IP-Adapter", trust=context.trust, title=title)
    return IpAdapterFile(Fingerprint.of(path), path, adapter.scale, title)


def ip_adapter_changes(
    cls: Any, models: Mapping[str, Any], wanted: IpAdapterFile | None
) -> Iterator[Change]:
    """The adapter on a pipeline of this class, and its scale. `models`: by the name of their
    component. Raises RunFailed for a class that takes none."""
    if wanted is None:
        return
    if not hasattr(cls, "load_ip_adapter"):
        raise RunFailed(f"{cls.__name__} takes no IP-Adapter")
    names = frozenset(n for n, model in models.items() if hasattr(model, _LOADER))
    put = partial(_load, wanted=wanted)
    yield Change(Layer.IP_ADAPTER, "ip adapter", wanted.name, names, put)
    scaled = partial(_set_scale, wanted=wanted)
    # As text: two dicts that are equal may have their blocks in another order, which counts.
    scale = json.dumps(wanted.scale)
    yield Change(Layer.IP_ADAPTER_SCALE, "scale", scale, names, scaled)


_LOADER = "_load_ip_adapter_weights"
"""The method of the models that take adapters."""


def _load(pipeline: Any, *, wanted: IpAdapterFile) -> None:
    _reject_face_id(wanted)
    # None stops diffusers from loading the image encoder, which is a component.
    is_flux = isinstance(pipeline, FluxIPAdapterMixin)
    encoder = "image_encoder_pretrained_model_name_or_path" if is_flux else "image_encoder_folder"
    folder, name = str(wanted.path.parent), wanted.path.name
    try:
        with wanted.name.reading():
            pipeline.load_ip_adapter(folder, subfolder="", weight_name=name, **{encoder: None})
            detach(pipeline.components.values(), wanted.name)
        for model in modules(pipeline):
            store_again(model)
    except (KeyError, RuntimeError, ValueError) as error:
        raise RunFailed(
            f"the IP-Adapter {wanted.title!r} does not fit {type(pipeline).__name__}: "
            + told(error)
        ) from error


def _set_scale(pipeline: Any, *, wanted: IpAdapterFile) -> None:
    try:
        pipeline.set_ip_adapter_scale(1.0 if wanted.scale is None else wanted.scale)
    except (TypeError, ValueError) as error:
        raise RunFailed(
            f"the scale {wanted.scale} of the IP-Adapter {wanted.title!r} names blocks that "
            f"{type(pipeline).__name__} does not have",
            hints=['a number, or for a UNet {"down": {"block_2": [0, 1]}, "mid": 1, "up": 0.5}'],
        ) from error


def prepare_images(pipeline: Any) -> None:
    """Give a pipeline the processor that scales images to the encoder's size, as diffusers does
    when it loads an adapter with its encoder."""
    if getattr(pipeline, "feature_extractor", _MISSING) is None:
        encoder = getattr(pipeline, "image_encoder", None)
        size = IMAGE_SIZE if encoder is None else encoder.config.image_size
        pipeline.feature_extractor = CLIPImageProcessor(size=size, crop_size=size)


def _reject_face_id(wanted: IpAdapterFile) -> None:
    """FaceID adapters bring LoRAs, which the next call would remove as unwanted ones."""
    if wanted.path.suffix == ".safetensors":
        with safe_open(wanted.path, framework="pt") as file:
            keys = file.keys()
            if any(".lora" in key or "_lora" in key for key in keys):
                raise RunFailed(f"{wanted.title!r} is a FaceID adapter, which is not supported")
