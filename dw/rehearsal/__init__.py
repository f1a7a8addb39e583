"""Stand-ins: tiny models with random weights in place of the real ones, so that any workflow runs
in seconds.

They are made on first use in the user's cache folder, from the installed libraries alone, with the
same bytes each time. Importing this package, or asking for a pipeline that exists, does not import
torch. A stand-in is loaded without the `variant` and `revision` of the real model.

`stand_in` returns the folder of a pipeline; further components (`stand_in_component`) and adapters
(`stand_in_lora`, `stand_in_ip_adapter`) are made to fit that folder. All of them raise RunFailed if
the cache folder cannot be written.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dw.rehearsal.families import family_of
from dw.rehearsal.family import Family
from dw.rehearsal.no_stand_in import NoStandIn
from dw.rehearsal.published_models import FAMILIES
from dw.rehearsal.store import ensure, place_of

__all__ = [
    "FAMILIES",
    "Family",
    "family_of",
    "stand_in",
    "stand_in_component",
    "stand_in_ip_adapter",
    "stand_in_lora",
    "stand_in_model",
]

_IP_FILE = "ip-adapter.safetensors"
_LORA_FILE = "pytorch_lora_weights.safetensors"


def stand_in(component_type: str, model_name: str) -> Path:
    """The folder (diffusers layout, safetensors) of the tiny pipeline for this class and model id.

    Classes that run on one published model share a folder. It holds the components that the
    model's index names: no ControlNet, motion adapter or other companion. Raises WorkflowError for
    a class that cannot be rehearsed.
    """
    family = family_of(component_type, model_name)

    def make(folder: Path) -> None:
        from dw.rehearsal.isolation import isolated

        with isolated(_seed(family.name)):
            # imported here, so that warnings of the import are silenced as well
            from dw.rehearsal.pipelines import save_pipeline

            save_pipeline(family, folder)

    try:
        return ensure(place_of(family.name), make)
    except NoStandIn as error:
        raise error.refusal(component_type.rpartition(".")[2]) from None


def stand_in_component(pipeline: Path, name: str, cls: Any, model_name: str) -> Path:
    """The folder of a component of class `cls` that fits the stand-in in the folder `pipeline` as
    its component `name`; another model name has other weights.

    Raises WorkflowError if no tiny model of that class can be made.
    """
    seed = _seed(f"{cls.__module__}.{cls.__name__}/{model_name}")
    place = pipeline.with_name(f"{pipeline.name}-{name}-{seed:08x}")

    def make(folder: Path) -> None:
        from dw.rehearsal.isolation import isolated

        with isolated(seed):
            from dw.rehearsal.pipelines import make_component

            make_component(pipeline, name, cls).save_pretrained(folder)

    return ensure(place, make)


def stand_in_lora(pipeline: Path, model_name: str, weight_name: str | None) -> Path:
    """A `.safetensors` LoRA that fits the stand-in in `pipeline`; another name, other weights."""
    seed = _seed(f"{model_name}/{weight_name}")
    place = pipeline.with_name(f"{pipeline.name}-lora-{seed:08x}")

    def make(folder: Path) -> None:
        from dw.rehearsal.isolation import isolated

        with isolated(seed):
            from dw.rehearsal.lora import save_lora

            save_lora(pipeline, folder, _LORA_FILE)

    return ensure(place, make) / _LORA_FILE


def stand_in_model(kind: str) -> Path:
    """The folder of the tiny model of a task, with its processor: `language`, `depth`, ..."""

    def make(folder: Path) -> None:
        from dw.rehearsal.isolation import isolated

        with isolated(_seed(kind)):
            from dw.rehearsal.task_models import BUILDERS

            BUILDERS[kind](folder)

    return ensure(place_of(f"task-{kind}"), make)


def stand_in_ip_adapter(pipeline: Path, image_encoder: Path, name: str) -> Path:
    """A `.safetensors` IP-Adapter that fits the stand-ins in `pipeline` and `image_encoder`;
    another name, other weights. Raises WorkflowError if no adapter of that kind can be made."""
    seed = _seed(name)
    place = pipeline.with_name(f"{pipeline.name}-ip-adapter-{seed:08x}")

    def make(folder: Path) -> None:
        from dw.rehearsal.isolation import isolated

        with isolated(seed):
            from dw.rehearsal.ip_adapter import save_ip_adapter

            save_ip_adapter(pipeline, image_encoder, folder / _IP_FILE)

    return ensure(place, make) / _IP_FILE


def _seed(name: str) -> int:
    """A 32-bit hash of the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
