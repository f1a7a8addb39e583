"""Component classes: for each component of a pipeline class, the class to build."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import diffusers
import transformers
from diffusers import DiffusionPipeline, ModularPipeline

from dw.rehearsal.families import COMPANIONS
from dw.rehearsal.family import Family
from dw.rehearsal.no_stand_in import NoStandIn

_KINDS = {
    "Gemma2PreTrainedModel": "Gemma2Model",
    "GemmaPreTrainedModel": "GemmaModel",
    "PreTrainedModel": "Qwen3Model",
    "KarrasDiffusionSchedulers": "EulerDiscreteScheduler",
    "SchedulerMixin": "FlowMatchEulerDiscreteScheduler",
}
"""Annotations that name a base class, and the class of the published models."""

_TOKENIZERS = {
    "T5Gemma": "GemmaTokenizer",
    "UMT5": "T5Tokenizer",
    "T5": "T5Tokenizer",
    "CLIP": "CLIPTokenizer",
    "Qwen": "Qwen2Tokenizer",
    "Gemma": "GemmaTokenizer",
    "Glm": "LlamaTokenizer",
    "Llama": "LlamaTokenizer",
    "Llava": "LlamaTokenizer",
    "Bert": "BertTokenizer",
}
"""Tokenizers by the start of the text encoder's class name, for annotations that name none."""

_TEXT = ("text_encoder", "tokenizer")
_OPEN = ("Auto", "PreTrainedTokenizerBase", "TokenizersBackend", "PythonBackend")


def classes_of(family: Family) -> dict[str, type]:
    """The class of each component in the folder of the family's model. Raises NoStandIn."""
    pipeline: type[DiffusionPipeline] = getattr(diffusers, family.pipeline)
    # diffusers has a placeholder for a class whose packages it could not import.
    needed = getattr(pipeline, "_backends", ())
    if missing := [package for package in needed if find_spec(package) is None]:
        raise NoStandIn(pipeline.__name__, needs=missing[0])
    if issubclass(pipeline, ModularPipeline):
        return _of_blocks(pipeline)
    left_out = {*_optional(pipeline), *family.without, *COMPANIONS}
    found: dict[str, type] = {}
    for name, kinds in pipeline._get_signature_types().items():
        if name in family.classes:
            found[name] = _class(family.classes[name])
        elif name in family.wanted or name not in left_out:
            kind = _first(kinds)
            if kind is not None:
                found[name] = kind
    for name, cls in found.items():
        if cls.__name__.startswith(_OPEN):
            encoder = found.get(name.replace("tokenizer", "text_encoder"), object).__name__
            fits = (kind for start, kind in _TOKENIZERS.items() if encoder.startswith(start))
            found[name] = _class(tokenizer) if (tokenizer := next(fits, None)) else cls
    return found


def _of_blocks(pipeline: type[ModularPipeline]) -> dict[str, type]:
    """The components that its workflows load, taken together."""
    specs = getattr(diffusers, pipeline.default_blocks_name)().expected_components
    return {
        spec.name: spec.type_hint
        for spec in specs
        if spec.default_creation_method == "from_pretrained"
    }


def _optional(pipeline: type[DiffusionPipeline]) -> Iterable[str]:
    """Components that a published model may lack. Text encoders are in all of them."""
    parameters = inspect.signature(pipeline.__init__).parameters
    yield from (n for n in pipeline._optional_components if not n.startswith(_TEXT))
    yield from (n for n, p in parameters.items() if p.default is not p.empty)


def _first(kinds: Iterable[Any]) -> type | None:
    """The first class of an annotation that can be loaded; others are settings."""
    for kind in filter(inspect.isclass, kinds):
        found = _class(_KINDS[kind.__name__]) if kind.__name__ in _KINDS else kind
        if hasattr(found, "from_pretrained") or hasattr(found, "from_config"):
            return found
    return None


def _class(name: str) -> type:
    found = getattr(diffusers, name, None) or getattr(transformers, name)
    assert isinstance(found, type)
    return found
