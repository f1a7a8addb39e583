"""Loading: one component, or the parts of a single-file checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, ModelMixin, SchedulerMixin

from dw.engine.models.mapped_files import detach
from dw.engine.models.modifiers import apply_changes
from dw.engine.models.not_found import fetching_config
from dw.engine.models.quantization import built
from dw.engine.models.spec import ComponentSpec, PlacementPlan, SchedulerSpec, SingleFile
from dw.engine.patches.weight_keys import judged
from dw.engine.python.signatures import constructor_signature


@contextmanager
def default_dtype_kept() -> Iterator[None]:
    """diffusers sets torch's default dtype while it loads, and keeps it after a failure."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def load_component(spec: ComponentSpec) -> Any:
    """Raises RunFailed when its files are other ones afterwards, as a key of the cache stands for
    the bytes that were read, and for weights that the files and the model do not both have."""
    with (
        default_dtype_kept(),
        spec.fingerprint.reading(),
        judged(spec.source, spec.allowed),
    ):
        if spec.source.is_file():
            arguments = _arguments(spec)
            with fetching_config(spec.source, arguments.get("config")):
                value = spec.cls.from_single_file(str(spec.source), **arguments)
        elif not hasattr(spec.cls, "from_pretrained"):  # transformers.pipeline
            device = {} if spec.placement is None else {"device": spec.placement.device}
            value = spec.cls(model=str(spec.source), **device, **_arguments(spec))
            detach([value], spec.fingerprint)
            return value
        else:
            value = spec.cls.from_pretrained(str(spec.source), **_arguments(spec))
        if spec.is_on_host:
            detach([value], spec.fingerprint)
        return apply_changes(value, spec)  # a mapped file is read when it is moved to a device


@dataclass(frozen=True)
class FileContent:
    """The content of a single-file checkpoint, known after its first load."""

    classes: Mapping[str, type]  # of the parts that are loaded from it
    schedulers: Mapping[str, SchedulerSpec]
    scalars: Mapping[str, Any]
    unread: frozenset[str] = frozenset()  # parts that each pipeline so far took from elsewhere


def load_single_file(
    file: SingleFile, have: Mapping[str, Any], placement_plan: PlacementPlan
) -> tuple[dict[str, Any], FileContent]:
    """The parts of the checkpoint that are not in `have`, which is passed in and not loaded
    again. Raises RunFailed as `load_component` does."""
    with file.fingerprint.reading(), judged(file.path, file.allowed):
        return _load_single_file(file, have, placement_plan)


def _load_single_file(
    file: SingleFile, have: Mapping[str, Any], placement_plan: PlacementPlan
) -> tuple[dict[str, Any], FileContent]:
    pipeline = _read(file, file.dtype, have)
    parts = {n: c for n, c in pipeline.components.items() if n not in have and c is not None}
    schedulers = {n: parts.pop(n) for n in list(parts) if isinstance(parts[n], SchedulerMixin)}
    for dtype in {d for n, d in file.dtypes.items() if n in parts and d != file.dtype}:
        # A file is read in one dtype: parts of another are read again, with the rest passed in.
        names = [n for n, d in file.dtypes.items() if n in parts and d == dtype]
        others = {n: c for n, c in pipeline.components.items() if n not in names}
        again = _read(file, dtype, others)
        parts.update({n: again.components[n] for n in names})
    if any(file.part(n, type(c), placement_plan).is_on_host for n, c in parts.items()):
        detach(parts.values(), file.fingerprint)
    content = FileContent(
        classes={n: type(c) for n, c in parts.items()},
        schedulers={n: SchedulerSpec(type(s), dict(s.config)) for n, s in schedulers.items()},
        scalars={
            n: pipeline.config[n]
            for n in constructor_signature(file.cls).scalars
            if n in pipeline.config
        },
    )
    return {
        n: apply_changes(c, file.part(n, type(c), placement_plan)) for n, c in parts.items()
    }, content


def _read(file: SingleFile, dtype: torch.dtype, have: Mapping[str, Any]) -> DiffusionPipeline:
    config = {} if file.config is None else {"config": str(file.config)}
    with default_dtype_kept(), fetching_config(file.path, file.config):
        return file.cls.from_single_file(
            str(file.path), torch_dtype=dtype, **config, **dict(file.options), **have
        )


def _arguments(spec: ComponentSpec) -> dict[str, Any]:
    """The keyword arguments of the component's loader."""
    if spec.dtype is None:
        return spec.arguments
    is_of_transformers = spec.cls.__module__.startswith("transformers.")
    name = "dtype" if is_of_transformers else "torch_dtype"
    arguments: dict[str, Any] = {name: spec.dtype, **spec.arguments}
    if spec.device_map is not None:
        arguments["device_map"] = json.loads(spec.device_map)
    if spec.quantization is not None:
        arguments["quantization_config"] = built(spec.quantization)
    if spec.variant is not None:
        arguments["variant"] = spec.variant
    is_model = hasattr(spec.cls, "from_pretrained")  # transformers.pipeline finds them itself
    is_known = is_model and (is_of_transformers or issubclass(spec.cls, ModelMixin))
    if is_known and spec.source.is_dir():
        arguments.setdefault("use_safetensors", True)
    return arguments
