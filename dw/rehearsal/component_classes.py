"""What a pipeline is made of, read from its class: for each component the class to build."""

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
"""Annotations that name a kind, and the class that the published models have."""

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
"""For annotations that leave it open: the tokenizer of a text encoder, by how its name begins."""

_TEXT = ("text_encoder", "tokenizer")
_OPEN = ("Auto", "PreTrainedTokenizerBase", "TokenizersBackend", "PythonBackend")


def classes_of(family: Family) -> dict[str, type]:
    """The class of each component in the folder of the family's model. Raises NoStandIn."""
    pipeline: type[DiffusionPipeline] = getattr(diffusers, family.pipeline)
    _require_packages(pipeline)
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
            encoder = found.get(name.replace("tokenizer", "text_encoder"))
            found[name] = _tokenizer_of(encoder, cls)
    return found


def _require_packages(pipeline: type) -> None:
    """Raises NoStandIn for a class that diffusers gives a name only, as it cannot import it."""
    needed = getattr(pipeline, "_backends", ())
    if missing := [package for package in needed if find_spec(package) is None]:
        raise NoStandIn(pipeline.__name__, needs=missing[0])


def _of_blocks(pipeline: type[ModularPipeline]) -> dict[str, type]:
    """What all its workflows load together."""
    specs = getattr(diffusers, pipeline.default_blocks_name)().expected_components
    return {
        spec.name: spec.type_hint
        for spec in specs
        if spec.default_creation_method == "from_pretrained"
    }


def _optional(pipeline: type[DiffusionPipeline]) -> Iterable[str]:
    """Components that a published model can come without. All have the text encoders."""
    parameters = inspect.signature(pipeline.__init__).parameters
    yield from (n for n in pipeline._optional_components if not n.startswith(_TEXT))
    yield from (n for n, p in parameters.items() if p.default is not p.empty)


def _tokenizer_of(encoder: type | None, otherwise: type) -> type:
    name = "" if encoder is None else encoder.__name__
    fits = (tokenizer for start, tokenizer in _TOKENIZERS.items() if name.startswith(start))
    return _class(found) if (found := next(fits, None)) else otherwise


def _first(kinds: Iterable[Any]) -> type | None:
    """The first class of an annotation that can be loaded, so is no setting."""
    for kind in filter(inspect.isclass, kinds):
        found = _class(_KINDS[kind.__name__]) if kind.__name__ in _KINDS else kind
        if hasattr(found, "from_pretrained") or hasattr(found, "from_config"):
            return found
    return None


def _class(name: str) -> type:
    found = getattr(diffusers, name, None) or getattr(transformers, name)
    assert isinstance(found, type)
    return found
