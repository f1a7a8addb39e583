"""Tiny pipelines with random weights in place of the real ones: any wiring runs in seconds.

They are made on first use in the user's cache folder, from the installed libraries alone, the same
bytes each time. Importing this package, and asking for a stand-in that is there already, imports no
torch. A stand-in is loaded without the `variant` and `revision` of the model that it stands for.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from dw.rehearsal.families import FAMILIES, Family, family_of
from dw.rehearsal.store import ensure, place_of

__all__ = ["FAMILIES", "Family", "family_of", "stand_in", "stand_in_lora"]

_LORA_FILE = "pytorch_lora_weights.safetensors"


def stand_in(component_type: str, model_name: str) -> Path:
    """The folder (diffusers layout, safetensors) of the tiny pipeline for this class and model id.

    Raises WorkflowError when no family fits, RunFailed when the cache folder cannot be written.
    """
    family = family_of(component_type, model_name)
    return ensure(place_of(family.name), partial(_make_pipeline, family))


def stand_in_lora(family_folder: Path, model_name: str, weight_name: str | None) -> Path:
    """A `.safetensors` LoRA that fits the stand-in in `family_folder`; other names, other weights.

    Raises RunFailed when the cache folder cannot be written.
    """
    seed = _seed(f"{model_name}/{weight_name}")
    place = family_folder.with_name(f"{family_folder.name}-lora-{seed:08x}")
    return ensure(place, partial(_make_lora, family_folder, seed)) / _LORA_FILE


def _make_pipeline(family: Family, folder: Path) -> None:
    from dw.rehearsal.surroundings import undisturbed

    with undisturbed(_seed(family.name)):
        from dw.rehearsal.models import (
            BUILDERS,
        )  # in silence: these imports have their own warnings

        BUILDERS[family.name]().save_pretrained(folder)


def _make_lora(family_folder: Path, seed: int, folder: Path) -> None:
    from dw.rehearsal.surroundings import undisturbed

    with undisturbed(seed):
        from dw.rehearsal.lora import save_lora

        save_lora(family_folder, folder, _LORA_FILE)


def _seed(name: str) -> int:
    """32 bits that depend on every letter of the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
