"""Keyword arguments: the names that a function reads from its `**kwargs`, by its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from inspect import Parameter
from typing import Any

from dw.errors import did_you_mean

_LOOK_UPS = ("get", "pop", "setdefault")


def unknown_argument(
    title: str, name: str, parameters: Mapping[str, Parameter], function: Callable[..., Any]
) -> str | None:
    """The error for an argument that the function does not take; messages call it `title`.

    None also where it passes its `**kwargs` on, as the functions that it calls are not searched. A
    name that is nearly a known one is an error there nevertheless.
    """
    known = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    takes_more = len(known) < len(parameters)
    read, are_all = keywords(function) if takes_more else (frozenset(), True)
    known += sorted(read - parameters.keys())
    hint = did_you_mean(name, known)
    if name in known or not (hint or are_all):
        return None
    names = ", ".join(each for each in known if not each.startswith("callback"))  # functions
    return f"{title} takes no argument {name!r}{hint or f'; it takes {names}'}"


@lru_cache(maxsize=256)
def keywords(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """The names that a function reads from its `**kwargs`, and whether it ignores all others. False
    where it passes them on, or where its source is not available."""
    kinds = {p.kind: name for name, p in inspect.signature(function).parameters.items()}
    given = kinds.get(Parameter.VAR_KEYWORD)
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return frozenset(), given is None
    tree = ast.parse(textwrap.dedent(source))
    uses = {node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == given}
    reads = {mapping: key for mapping, key in _reads(tree) if mapping in uses}
    return frozenset(filter(None, reads.values())), len(reads) == len(uses)


def _reads(tree: ast.AST) -> Iterator[tuple[ast.expr, str | None]]:
    """Each mapping that is read, with the key; None where none of its values is used."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=mapping, attr=attr), args=[ast.Constant(str(key)), *_]
            ) if attr in _LOOK_UPS:
                yield mapping, key
            case ast.Subscript(value=mapping, slice=ast.Constant(str(key))):
                yield mapping, key
            case ast.Compare(left=ast.Constant(str(key)), comparators=[mapping]):
                yield mapping, key
            case (
                ast.Call(func=ast.Attribute(value=mapping, attr="keys"), args=[])
                | ast.comprehension(iter=mapping)
                | ast.If(test=mapping)
                | ast.BoolOp(values=[mapping, *_])
            ):
                yield mapping, None
            case _:
                pass


@lru_cache(maxsize=1)
def generation_settings() -> frozenset[str]:
    """What `generate` of transformers takes for every model: the fields of GenerationConfig, its
    own parameters and TransformersKwargs."""
    from transformers import GenerationConfig, GenerationMixin
    from transformers.utils.generic import TransformersKwargs

    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    own = inspect.signature(GenerationMixin.generate).parameters.keys() - {"self", "kwargs"}
    return frozenset(fields | own | TransformersKwargs.__optional_keys__)


def unknown_generation_argument(name: str, cls: Any = None) -> str | None:
    """The error for an argument that `generate` does not take; `cls`: the class of the model, if
    known. Besides its settings it takes the arguments of the model's `forward`. A model with an
    encoder and a decoder is not checked: it derives argument names for both."""
    from transformers import GenerationMixin

    if cls is not None and not issubclass(cls, GenerationMixin):  # it has a `generate` of its own
        parameters = dict(inspect.signature(cls.generate).parameters)
        del parameters["self"]
        return unknown_argument(f"{cls.__name__}.generate", name, parameters, cls.generate)
    inputs: set[str] = set()
    for method in ("forward", "prepare_inputs_for_generation") if cls is not None else ():
        inputs |= inspect.signature(getattr(cls, method)).parameters.keys()
    known = generation_settings() | inputs
    if name in known or "decoder_input_ids" in inputs:
        return None
    hint = did_you_mean(name, known) or "; its settings are those of GenerationConfig"
    return f"generate takes no argument {name!r}{hint}"
