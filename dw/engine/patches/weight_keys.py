"""Weight keys: a model and its file must have the same weights.

diffusers and transformers give weights that a file lacks random numbers, pass over those that the
model has no use for, and log both. Here their own lists of what is meant to be so are respected;
what remains is an error, unless the workflow allows it.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from dw.engine.patches.scaled_fp8 import SCALES
from dw.errors import RunFailed

Allowed = Literal["missing", "unused"]

NOT_NEEDED = re.compile(r"neck\.fusion_stage\.layers\.0\.residual_layer1\.")
"""Weights that DPT's published files lack: its first fusion layer has nothing to add."""

NAMED = 3
"""Weights that an error names."""

ALMOST_ALL = 0.95
"""Share of a model's weights that makes a file one in its own format. The nearest of the others,
LTX, has 0.85 in common with diffusers."""

FILLS = ("diffusers.loaders.single_file_model", "diffusers.loaders.single_file_utils")
"""The modules that fill models from single files."""


KEYS: Mapping[str, Allowed] = {
    "allow_missing_weights": "missing",
    "allow_unused_weights": "unused",
}
"""Of a workflow, beside the arguments of a loader: what they allow."""


def allowed_by(arguments: Mapping[str, Any]) -> frozenset[Allowed]:
    return frozenset(what for key, what in KEYS.items() if arguments.get(key) is True)


@dataclass(frozen=True, slots=True)
class _Load:
    source: Path
    allowed: Collection[Allowed]


_load: ContextVar[_Load | None] = ContextVar("load", default=None)


@contextmanager
def judged(source: Path, allowed: Collection[Allowed]) -> Iterator[None]:
    """Models that are loaded inside raise RunFailed for weights that `source` and they do not both
    have, unless `allowed`."""
    token = _load.set(_Load(source, allowed))
    try:
        yield
    finally:
        _load.reset(token)


def judge(model: torch.nn.Module, *, missing: Collection[str], unused: Collection[str]) -> None:
    """Raises RunFailed as `judged` says; does nothing outside of it."""
    if (load := _load.get()) is None:
        return
    missing = sorted(key for key in missing if not NOT_NEEDED.search(key))
    found, keys = [], []
    if missing and "missing" not in load.allowed:
        of = len(model.state_dict())
        found.append(f"{len(missing)} of {of} are not there and would be random ({some(missing)})")
        keys.append('"allow_missing_weights": true')
    if unused and "unused" not in load.allowed:
        found.append(f"{len(unused)} there have no place in the model ({some(unused)})")
        keys.append('"allow_unused_weights": true')
    if not found:
        return
    reason = "the files may be of another version of the model, or of another model"
    if any(key.endswith(SCALES) for key in unused):
        reason = "the scales of float8 weights are applied in single files (from_single_file) only"
    raise RunFailed(
        f"the weights of {type(model).__name__} and those in {str(load.source)!r} differ: "
        f"{'; '.join(found)}",
        hints=[reason, f"{', '.join(keys)}   in from_pretrained_arguments accepts that"],
    )


def install() -> None:
    """Judge in both libraries."""
    from diffusers import ModelMixin
    from transformers import PreTrainedModel

    modeling: Any = ModelMixin
    modeling._load_pretrained_model = classmethod(
        _judging_load(modeling._load_pretrained_model.__func__)
    )
    pretrained: Any = PreTrainedModel
    pretrained._adjust_missing_and_unexpected_keys = _judging_adjust(
        pretrained._adjust_missing_and_unexpected_keys
    )
    for name in FILLS:
        module: Any = importlib.import_module(name)
        module.load_model_dict_into_meta = _judging_fill(module.load_model_dict_into_meta)
    of_models: Any = importlib.import_module(FILLS[0])
    of_models._should_convert_state_dict_to_diffusers = _converting(
        of_models._should_convert_state_dict_to_diffusers
    )


def some(names: Collection[str]) -> str:
    """The first names, in the order of the alphabet, and how many more there are."""
    rest = len(names) - NAMED
    return ", ".join(map(repr, sorted(names)[:NAMED])) + (f" and {rest} more" if rest > 0 else "")


def _judging_load(load: Any) -> Any:
    def load_pretrained_model(cls: Any, *args: Any, **kwargs: Any) -> Any:
        model, missing, unused, *rest = load(cls, *args, **kwargs)
        judge(model, missing=missing, unused=unused)
        return model, missing, unused, *rest

    return load_pretrained_model


def _judging_adjust(adjust: Any) -> Any:
    def adjust_missing_and_unexpected_keys(model: Any, loading_info: Any) -> None:
        adjust(model, loading_info)
        unused = () if _is_a_part(model) else loading_info.unexpected_keys
        judge(model, missing=loading_info.missing_and_mismatched(), unused=unused)

    return adjust_missing_and_unexpected_keys


def _is_a_part(model: torch.nn.Module) -> bool:
    """Whether the files are those of another model, of which this one may be a part: a text encoder
    comes out of a whole CLIP."""
    load = _load.get()
    config = None if load is None else load.source / "config.json"
    if config is None or not config.is_file():
        return False
    published = json.loads(config.read_bytes()).get("architectures")
    return bool(published) and type(model).__name__ not in published


def _judging_fill(fill: Any) -> Any:
    """Of single files: their keys are judged as they are after the conversion to the model's."""

    def load_model_dict_into_meta(
        model: Any, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        expected = model.state_dict()
        tied = getattr(model, "all_tied_weights_keys", None)  # of a model of transformers
        missing = [key for key in expected.keys() - state_dict.keys() if key not in (tied or ())]
        if (quantizer := kwargs.get("hf_quantizer")) is not None:
            missing = quantizer.update_missing_keys(model, missing, prefix="")
        ignored = "|".join(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ["$."])
        unused = [k for k in state_dict.keys() - expected.keys() if not re.search(ignored, k)]
        # What the conversion leaves over of a text encoder says nothing about the file.
        judge(model, missing=missing, unused=unused if tied is None else ())
        return fill(model, state_dict, *args, **kwargs)

    return load_model_dict_into_meta


def _converting(should_convert: Any) -> Any:
    """A file with a weight more or less than the model is none in another format, which diffusers
    would find empty."""

    def should_convert_state_dict_to_diffusers(
        expected: Mapping[str, Any], found: Mapping[str, Any]
    ) -> bool:
        common = len(expected.keys() & found.keys())
        return common < ALMOST_ALL * len(expected) and should_convert(expected, found)

    return should_convert_state_dict_to_diffusers
