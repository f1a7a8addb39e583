"""What calls take in their `**kwargs`, which signatures do not tell but their code does."""

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
    """The message for an argument that the function, which a message calls `title`, does not take.

    None also where it hands its `**kwargs` on, so that only what it calls could tell; but what is
    nearly a known name is a mistake there, too.
    """
    known = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
    takes_more = len(known) < len(parameters)
    read, are_all = keywords(function) if takes_more else (frozenset(), True)
    known += sorted(read - parameters.keys())
    hint = did_you_mean(name, known)
    if name in known or not (hint or are_all):
        return None
    told = ", ".join(each for each in known if not each.startswith("callback"))  # functions
    return f"{title} takes no argument {name!r}{hint or f'; it takes {told}'}"


@lru_cache(maxsize=256)
def keywords(function: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """The names that a function reads out of its `**kwargs`, and whether these are all: it does
    nothing with the others. They are not known to be where it hands them on, or has no source."""
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
    """Uses of a mapping that give one of its values, whose key is told, or none."""
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
    """What `generate` of transformers takes of every model: the fields of GenerationConfig, and its
    own parameters."""
    from transformers import GenerationConfig, GenerationMixin
    from transformers.utils.generic import TransformersKwargs

    fields = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    own = inspect.signature(GenerationMixin.generate).parameters.keys() - {"self", "kwargs"}
    return frozenset(fields | own | TransformersKwargs.__optional_keys__)


def unknown_generation_argument(name: str, cls: Any = None) -> str | None:
    """The message for an argument that `generate` does not take, of a model of this class if that
    is known. Beside its settings it takes what the model's `forward` does; one that has a decoder
    beside an encoder gives names to the arguments of both, and is not judged."""
    inputs: set[str] = set()
    for method in ("forward", "prepare_inputs_for_generation") if cls is not None else ():
        inputs |= inspect.signature(getattr(cls, method)).parameters.keys()
    known = generation_settings() | inputs
    if name in known or "decoder_input_ids" in inputs:
        return None
    hint = did_you_mean(name, known) or "; its settings are those of GenerationConfig"
    return f"generate takes no argument {name!r}{hint}"
