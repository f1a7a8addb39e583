"""Weight reading: the progress of loading and moving weights, in bytes. Each tensor is a point
where a run can be cancelled.

diffusers and transformers fill an empty model tensor by tensor, each in one function, without a
progress report: what passes through the two functions is counted here. A load that is cancelled
leaves only a model that nothing refers to.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch

from dw.engine.patches.progress_bars import Bar

DIFFUSERS_FILLS = (
    "diffusers.models.model_loading_utils",
    "diffusers.loaders.single_file_model",
    "diffusers.loaders.single_file_utils",
)
"""The modules that bind `load_model_dict_into_meta`."""

_bars: WeakKeyDictionary[torch.nn.Module, Bar] = WeakKeyDictionary()


class Counted(dict[str, Any]):
    """The weights of a model, counted while diffusers iterates over them."""

    def __init__(self, weights: dict[str, Any], model: torch.nn.Module) -> None:
        super().__init__(weights)
        self._model = model

    def items(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        for name, tensor in super().items():
            yield name, tensor
            count(self._model, tensor)


def install() -> None:
    """Count in both libraries."""
    for name in DIFFUSERS_FILLS:
        module: Any = importlib.import_module(name)
        module.load_model_dict_into_meta = _counting_fill(module.load_model_dict_into_meta)
    core: Any = importlib.import_module("transformers.core_model_loading")
    core.set_param_for_module = _counting_set(core.set_param_for_module)


def count(model: torch.nn.Module, tensor: Any) -> None:
    """Count `tensor` as read into `model`."""
    if isinstance(tensor, torch.Tensor):
        bar = _bars.get(model)
        if bar is None:
            elements = sum(each.numel() for each in model.state_dict().values())
            bar = _bars[model] = _bar("read", elements * tensor.element_size())
        bar.update(tensor.nbytes)


def moved(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Like `model.to(device)`, module by module. A file that is mapped into memory is read here."""
    if getattr(model, "hf_quantizer", None) is not None:
        return model.to(device)  # quantized weights move in their own way
    bar = _bar("move", sum(tensor.nbytes for tensor in model.state_dict().values()))

    def move(tensor: torch.Tensor) -> torch.Tensor:
        there = tensor.to(device)
        bar.update(tensor.nbytes)
        return there

    for module in model.modules():
        module._apply(move, recurse=False)  # type: ignore[no-untyped-call]
    return model


def _bar(phase: str, nbytes: int) -> Bar:
    bar = Bar(total=nbytes)
    bar.phase = phase
    return bar


def _counting_fill(fill: Any) -> Any:
    def load_model_dict_into_meta(
        model: torch.nn.Module, state_dict: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        return fill(model, Counted(state_dict, model), *args, **kwargs)

    return load_model_dict_into_meta


def _counting_set(set_param: Any) -> Any:
    def set_param_for_module(
        model: torch.nn.Module, name: str, value: Any, *args: Any, **kwargs: Any
    ) -> Any:
        done = set_param(model, name, value, *args, **kwargs)
        count(model, value)
        return done

    return set_param_for_module
