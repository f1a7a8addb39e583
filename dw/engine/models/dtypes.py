"""Dtypes of a pipeline's components, decided before anything is compared or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from dw.engine.python import resolve
from dw.workflow.format.pipeline import Pipeline


class Dtypes:
    """The dtype of each component: of its block in `configuration`, else its own, else the
    pipeline's.

    A missing dtype is float32 for all components: by default diffusers takes float32, but
    transformers the checkpoint's.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        given = _dtype_argument(pipeline.from_pretrained_arguments)
        if (loads := pipeline.configuration.load_components) is not None:
            given = loads.dtype or given
        named = dict(given) if isinstance(given, Mapping) else {"default": given}
        self.default = resolve.dtype(named.pop("default", None))
        arguments = {n: c.from_pretrained_arguments for n, c in pipeline.components.items()}
        own = {n: _dtype_argument(a) for n, a in arguments.items() if _dtype_argument(a)}
        blocks: dict[str, Any] = dict(pipeline.configuration.component_dtypes)
        if pipeline.configuration.vae and pipeline.configuration.vae.torch_dtype:
            blocks["vae"] = pipeline.configuration.vae.torch_dtype
        self.named = {n: resolve.dtype(d) for n, d in {**named, **own, **blocks}.items()}

    def __getitem__(self, component: str) -> torch.dtype:
        return self.named.get(component, self.default)


def given_dtype(pipeline: Pipeline) -> torch.dtype | None:
    """The dtype that the workflow gives for the whole pipeline."""
    given = _dtype_argument(pipeline.from_pretrained_arguments)
    return resolve.dtype(given) if isinstance(given, str) else None


def _dtype_argument(arguments: Mapping[str, Any]) -> Any:
    return arguments.get("torch_dtype", arguments.get("dtype"))
