"""LoRA files: those that diffusers reads otherwise than their trainers meant, put right.

In the names of kohya's trainer each layer has an alpha of its own, by which its weights count
`alpha / rank`; diffusers' pipelines of Stable Diffusion give all layers one. peft's own files name
no component, and have the alpha in a config beside them; diffusers finds nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.models.model_loading_utils import load_state_dict
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import safe_open

from dw.errors import RunFailed

Weights = dict[str, torch.Tensor]

CONFIG = "adapter_config.json"
_PEFT = "base_model.model."
_DOWN, _UP, _ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that say what a LoRA is: peft's has a config beside it."""
    config = path.parent / CONFIG
    is_of_peft = path.name.startswith("adapter_model.") and config.is_file()
    return (path, config) if is_of_peft else (path,)


def check_lora(path: Path, title: str) -> None:
    """Raises RunFailed for a kind of LoRA that diffusers would load as another."""
    if any("dora_scale" in key for key in _keys(path)):
        raise RunFailed(
            f"the LoRA {title!r} is a DoRA in the names of its trainer, whose magnitudes "
            "('dora_scale') diffusers leaves out",
            hints=[
                "convert it to diffusers' names ('lora_magnitude_vector'), or merge it into the "
                "model"
            ],
        )


def readable(path: Path, pipeline: Any) -> Weights | None:
    """The weights as the pipeline's loader reads them rightly; None when it does so by itself."""
    keys = _keys(path)
    if keys and all(key.startswith(_PEFT) for key in keys):
        return _of_peft(load_state_dict(path), path.parent / CONFIG, pipeline)
    of_one_alpha = (StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin)
    if any(key.endswith(_ALPHA) for key in keys) and isinstance(pipeline, of_one_alpha):
        weights: Weights = load_state_dict(path)
        alphas = {weight.item() for key, weight in weights.items() if key.endswith(_ALPHA)}
        return _of_kohya(weights) if len(alphas) > 1 else None
    return None


def _keys(path: Path) -> list[str]:
    if path.suffix != ".safetensors":
        return list(load_state_dict(path))
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _of_kohya(weights: Weights) -> Weights:
    """Each layer's weights times its own factor, and no alphas: then the factors are 1."""
    found = {key: weight for key, weight in weights.items() if not key.endswith(_ALPHA)}
    for key in [key for key in weights if key.endswith(_ALPHA)]:
        up = key.removesuffix(_ALPHA) + _UP
        if up in found:
            rank = weights[key.removesuffix(_ALPHA) + _DOWN].shape[0]
            found[up] = scaled(weights[up], weights[key].item() / rank)
    return found


def _of_peft(weights: Weights, config: Path, pipeline: Any) -> Weights:
    """The names with their component, and the factor of the config in the weights."""
    loaded = LoraConfig.from_pretrained(str(config.parent)) if config.is_file() else None
    components = list(_components(pipeline))
    found: Weights = {}
    for key, weight in weights.items():
        name = key.removeprefix(_PEFT)
        layer = name.partition(".lora_")[0]
        component = next((c for c, modules in components if layer in modules), components[0][0])
        is_up = loaded is not None and name.endswith(".lora_B.weight")
        factor = _factor(loaded, layer, weight.shape[1]) if is_up else 1.0
        found[f"{component}.{name}"] = scaled(weight, factor)
    return found


def _components(pipeline: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The components that take LoRAs, and their modules by path."""
    for name in pipeline._lora_loadable_modules:
        if isinstance(model := getattr(pipeline, name, None), torch.nn.Module):
            yield name, {path.replace(".base_layer", ""): m for path, m in model.named_modules()}


def _factor(config: Any, layer: str, rank: int) -> float:
    pattern = get_pattern_key(config.alpha_pattern.keys(), layer)
    alpha = config.alpha_pattern.get(pattern, config.lora_alpha)
    return float(alpha / (rank**0.5 if config.use_rslora else rank))


def scaled(weight: torch.Tensor, factor: float) -> torch.Tensor:
    """In the dtype of the weight, rounded once."""
    return weight if factor == 1 else (weight.float() * factor).to(weight.dtype)
