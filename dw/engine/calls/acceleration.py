"""Acceleration: step caches and attention backends, set for one call of a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import attention_backend

from dw.engine.calls import step_cache, teacache
from dw.engine.calls.denoising import MODELS
from dw.engine.calls.weighting import takes_weights
from dw.engine.python.signatures import component_types, constructor_signature
from dw.errors import RunFailed, told
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.configuration import Configuration
from dw.workflow.json_path import JsonPath


@contextmanager
def accelerated(
    pipeline: DiffusionPipeline,
    configuration: Configuration,
    arguments: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Iterator[None]:
    """Raises RunFailed when the pipeline cannot have what the workflow asks for."""
    with ExitStack() as stack:
        stack.enter_context(attention(configuration.attention_backend))
        if (cache := configuration.cache) is not None:
            stack.enter_context(step_cache.applied(pipeline, cache, arguments, warn))
        if (tea := configuration.teacache) is not None:
            stack.enter_context(teacache.applied(pipeline, tea, arguments))
        yield


def check_acceleration(cls: Any, configuration: Configuration, path: JsonPath) -> Diagnostics:
    """What the models of a pipeline class cannot have, as far as the class shows. `path`: of the
    configuration."""
    cache, tea = configuration.cache, configuration.teacache
    reasons: dict[str, Callable[[type], str | None]] = {}
    if cache is not None:
        reasons["cache"] = partial(step_cache.why_unsupported, cache=cache)
    if tea is not None:
        reasons["teacache"] = teacache.why_unsupported
    for key, reason in reasons.items():
        names = [name for name in MODELS if name in constructor_signature(cls).components]
        messages = (
            [reason(model) for model in component_types(cls, names[0])]
            if names
            else [f"{cls.__name__} has no transformer, which step caches are for"]
        )
        # The component may be of several classes; one that fits is enough.
        if messages and messages[0] and all(messages):
            yield DataDiagnostic((*path, key), messages[0], at_key=True)
    if configuration.prompt_weighting and not takes_weights(cls):
        message = f"'prompt_weighting' is for FLUX.1, not for {cls.__name__}"
        yield DataDiagnostic((*path, "prompt_weighting"), message, at_key=True)
    if configuration.freeu is not None and not hasattr(cls, "enable_freeu"):
        message = f"'freeu' is for the UNets of Stable Diffusion, not for {cls.__name__}"
        yield DataDiagnostic((*path, "freeu"), message, at_key=True)


def attention(backend: str | None) -> AbstractContextManager[None]:
    """Computes all attention with this backend, that of other models as well: diffusers has one
    for the process. The one before is put back."""
    return nullcontext() if backend is None else attention_backend(backend)


def usable(
    configuration: Configuration, warn: Callable[[str], None], *, rehearse: bool
) -> Configuration:
    """The configuration; in a rehearsal, without an attention backend that this machine lacks.
    Raises RunFailed for such a backend in a real run."""
    backend = configuration.attention_backend
    try:
        with attention(backend):
            return configuration
    except (ImportError, RuntimeError, ValueError) as error:
        failure = RunFailed(
            f"attention_backend {backend!r} cannot be used here: {told(error)}",
            hints=["native, the default, is there on every machine"],
        )
        if not rehearse:
            raise failure from error
    warn(f"{failure.message}; rehearsing without it")
    return configuration.model_copy(update={"attention_backend": None})
