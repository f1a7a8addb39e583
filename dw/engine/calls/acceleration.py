"""What makes the calls of a pipeline faster: set for each call, and gone after it."""

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
from dw.engine.execution.run import Run
from dw.engine.python.signatures import component_types, constructor_signature
from dw.errors import RunFailed
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
    """Raises RunFailed when the pipeline does not have what the workflow asks for."""
    with ExitStack() as stack:
        stack.enter_context(attention(configuration.attention_backend))
        if (cache := configuration.cache) is not None:
            stack.enter_context(step_cache.applied(pipeline, cache, arguments, warn))
        if (tea := configuration.teacache) is not None:
            stack.enter_context(teacache.applied(pipeline, tea, arguments))
        yield


def check_acceleration(cls: Any, configuration: Configuration, path: JsonPath) -> Diagnostics:
    """What the models of a pipeline class do not have, as far as the class tells; `path` is the
    configuration's."""
    cache, tea = configuration.cache, configuration.teacache
    judges: dict[str, Callable[[type], str | None]] = {}
    if cache is not None:
        judges["cache"] = partial(step_cache.judge_model, cache=cache)
    if tea is not None:
        judges["teacache"] = teacache.judge_model
    for key, judge in judges.items():
        if message := _judge(cls, judge):
            yield DataDiagnostic((*path, key), message, at_key=True)
    if configuration.prompt_weighting and not takes_weights(cls):
        message = f"'prompt_weighting' is for FLUX.1, not for {cls.__name__}"
        yield DataDiagnostic((*path, "prompt_weighting"), message, at_key=True)


def _judge(cls: Any, judge: Callable[[type], str | None]) -> str | None:
    names = [name for name in MODELS if name in constructor_signature(cls).components]
    if not names:
        return f"{cls.__name__} has no transformer, which step caches are for"
    messages = [judge(model) for model in component_types(cls, names[0])]
    return messages[0] if messages and all(messages) else None


def attention(backend: str | None) -> AbstractContextManager[None]:
    """All attention is computed by this backend meanwhile, that of other models too: diffusers
    has one for the process, and gives back the one before."""
    return nullcontext() if backend is None else attention_backend(backend)


def usable(configuration: Configuration, run: Run) -> Configuration:
    """The configuration without an attention backend that this machine lacks, when it is a
    rehearsal. Raises RunFailed when it is not."""
    backend = configuration.attention_backend
    try:
        with attention(backend):
            return configuration
    except (ImportError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        failure = RunFailed(
            f"attention_backend {backend!r} cannot be used here: {reason}",
            hints=["native, the default, is there on every machine"],
        )
        if not run.planner.rehearse:
            raise failure from error
    run.warn(f"{failure.message}; rehearsing without it")
    return configuration.model_copy(update={"attention_backend": None})
