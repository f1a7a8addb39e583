"""Pipelines of stand-ins, and single components that fit one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, ModularPipeline, UNet2DConditionModel
from transformers import PreTrainedModel

from dw.rehearsal.component_classes import classes_of
from dw.rehearsal.components import make, token_values
from dw.rehearsal.family import Family, Values
from dw.rehearsal.no_stand_in import NoStandIn
from dw.rehearsal.published_models import FLUX_VAE

_DENOISERS = ("unet", "transformer")


def save_pipeline(family: Family, folder: Path) -> None:
    """Save a family's pipeline, with components that fit together. Raises NoStandIn."""
    classes = classes_of(family)
    made: dict[str, Any] = {}
    # Tokenizers and processors first: text encoders depend on them.
    for name in sorted(classes, key=lambda name: not ("tokenizer" in name or "processor" in name)):
        tokenizer = made.get(name.replace("text_encoder", "tokenizer"))
        values = dict(_latents(classes[name], classes))
        if "text_encoder" in name and tokenizer is not None:
            values |= token_values(tokenizer)
        made[name] = make(classes[name], {**values, **family.values.get(name, {})})
    cls: Any = getattr(diffusers, family.pipeline)
    if issubclass(cls, ModularPipeline):
        pipeline = cls()
        pipeline.update_components(**{**made, **family.scalars})
        pipeline.save_pretrained(str(folder), overwrite_modular_index=True)
        # relative paths: the folder will be moved
        index = folder / ModularPipeline.config_name
        text = index.read_text(encoding="utf-8").replace(str(folder), "")
        index.write_text(text, encoding="utf-8")
        return
    components, _ = cls._get_signature_keys(cls)
    left_out = dict.fromkeys(components - made.keys())
    cls(**left_out, **made, **family.scalars).save_pretrained(folder)


def make_component(stand_in: Path, name: str, cls: Any) -> Any:
    """The component `name` for the pipeline in the folder. Raises WorkflowError.

    Entries that its configuration shares with the stand-in's own component `name`, or else with the
    denoiser, have the same values: latent channels, block widths, text widths.
    """
    if (stand_in / name).is_dir() and not issubclass(cls, torch.nn.Module):
        return cls.from_pretrained(stand_in / name)  # parts without weights are the same
    is_encoder = issubclass(cls, PreTrainedModel)  # its configuration has nothing of a denoiser's
    places = [name] if is_encoder else [name, *_DENOISERS]
    configs = [c for place in places if (c := _config(stand_in / place))]
    try:
        return make(cls, configs[0] if configs else {})
    except NoStandIn as error:
        raise error.refusal(name) from None


def _latents(cls: type, classes: Mapping[str, type]) -> Values:
    """For the VAE class that many models share: the latent channels, from the denoiser's defaults.
    Denoisers with 2x2 patches have 16 input channels for 4 latent ones, and 64 for 16."""
    denoiser = next((classes[name] for name in _DENOISERS if name in classes), None)
    if cls is not AutoencoderKL or denoiser is None:
        return {}
    channels = inspect.signature(denoiser).parameters["in_channels"].default
    has_16 = denoiser is not UNet2DConditionModel and channels in (16, 64)
    return FLUX_VAE if has_16 else {}


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {n: v for n, v in entries.items() if not n.startswith("_")}
