"""Latent dtype: a VAE in another dtype than the rest of its pipeline, such as one in float32 that
overflows in float16.

Pipelines hand it their own latents and images, and take its latents as they are: most of them fail
when the dtypes differ. For the time of a call both are cast where they cross.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from dw.engine.python.overriding import Method, overridden

_CASTABLE = (torch.float16, torch.bfloat16, torch.float32)


@contextmanager
def any_dtype(pipeline: Any) -> Iterator[None]:
    components = getattr(pipeline, "components", {})
    parts = components.values() if isinstance(components, Mapping) else ()
    classes = {
        type(part)
        for part in parts
        if isinstance(part, torch.nn.Module) and hasattr(part, "decode") and hasattr(part, "dtype")
    }
    with ExitStack() as stack:
        for cls in classes:
            stack.enter_context(overridden(cls, "decode", _decoding))
            if hasattr(cls, "encode"):
                stack.enter_context(overridden(cls, "encode", _encoding))
        yield


def _decoding(decode: Method) -> Method:
    def decoded(model: Any, *args: Any, **kwargs: Any) -> Any:
        given, named, _ = _cast(model, args, kwargs)
        return decode(model, *given, **named)

    return decoded


def _encoding(encode: Method) -> Method:
    def encoded(model: Any, *args: Any, **kwargs: Any) -> Any:
        given, named, before = _cast(model, args, kwargs)
        output = encode(model, *given, **named)
        return output if before is None else _cast_back(output, before)

    return encoded


def _cast(model: Any, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any], Any]:
    """The arguments in the model's dtype, and the dtype of those that had another."""
    wanted, before = model.dtype, None

    def cast(value: Any) -> Any:
        nonlocal before
        is_other = isinstance(value, torch.Tensor) and value.dtype != wanted
        if not is_other or value.dtype not in _CASTABLE or wanted not in _CASTABLE:
            return value
        before = value.dtype
        return value.to(wanted)

    given = [cast(value) for value in args]
    return given, {name: cast(value) for name, value in kwargs.items()}, before


def _cast_back(output: Any, dtype: torch.dtype) -> Any:
    """The output of `encode`: latents, or a distribution of them, alone or as a tuple or fields."""
    if isinstance(output, torch.Tensor):
        return output.to(dtype)
    if isinstance(output, tuple):
        return tuple(_cast_back(each, dtype) for each in output)
    if isinstance(output, Mapping):
        for name, value in output.items():
            output[name] = _cast_back(value, dtype)  # type: ignore[index]
    elif isinstance(getattr(output, "parameters", None), torch.Tensor):
        return type(output)(output.parameters.to(dtype))
    return output
