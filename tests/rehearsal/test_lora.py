from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.rehearsal import FAMILIES, Family, stand_in_lora
from tests.rehearsal.conftest import folder_of
from tests.rehearsal.test_stand_ins import IMAGES, draw, every_family, load

pytestmark = [
    pytest.mark.usefixtures("stand_ins"),
    # diffusers' Euler scheduler hands a tensor to numpy 2 in the old way
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def adapt(pipeline: Any, lora: Path, scale: float = 1.0) -> None:
    pipeline.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="style")
    pipeline.set_adapters(["style"], [scale])


@every_family
def test_a_lora_changes_the_image_by_its_scale(family: Family) -> None:
    pipeline = load(family.pipeline)
    plain = draw(pipeline)
    adapt(pipeline, stand_in_lora(folder_of(family), "someone/style", "style.safetensors"))
    full = abs(plain - draw(pipeline)).mean()
    pipeline.set_adapters(["style"], [0.3])
    assert full > abs(plain - draw(pipeline)).mean() > 1
    pipeline.unload_lora_weights()
    assert abs(plain - draw(pipeline)).mean() == 0


def test_the_names_decide_the_weights() -> None:
    folder = folder_of(FAMILIES[0])
    names = [("a/style", None), ("b/style", None), ("a/style", "x.safetensors")]
    loras = [stand_in_lora(folder, *name) for name in names]
    assert len({lora.read_bytes() for lora in loras}) == 3
    assert stand_in_lora(folder, "a/style", None) == loras[0]
    assert all(lora.suffix == ".safetensors" for lora in loras)


def test_every_making_gives_the_same_lora(fresh: Path) -> None:
    for family in IMAGES:
        first = stand_in_lora(folder_of(family), "a/style", None)
        expected = first.read_bytes()
        first.unlink()
        assert stand_in_lora(folder_of(family), "a/style", None).read_bytes() == expected
