from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, PreTrainedModel

from dw.engine import Cancelled, RunControl
from dw.engine.models.loading import default_dtype_kept
from dw.engine.patches import progress_bars, weight_reading
from dw.engine.patches.progress_bars import Listener

Position = tuple[str, int, int]


@pytest.fixture
def positions() -> Iterator[list[Position]]:
    told: list[Position] = []
    with progress_bars.listening(Listener(lambda *p: told.append(p), lambda *_: None)):
        yield told


def nbytes(model: torch.nn.Module) -> int:
    return sum(value.nbytes for value in model.state_dict().values())


def assert_each_byte_is_told(positions: list[Position], phase: str, total: int) -> None:
    assert {position[0] for position in positions} == {phase}
    done = [position[1] for position in positions]
    assert done == sorted(done)
    assert positions[-1] == (phase, total, total)
    assert len(done) > 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("cls", "name"), [(UNet2DConditionModel, "unet"), (CLIPTextModel, "text_encoder")]
)
def test_a_component_is_read_byte_by_byte(
    sd15: Path, positions: list[Position], cls: Any, name: str, dtype: torch.dtype
) -> None:
    takes = "dtype" if issubclass(cls, PreTrainedModel) else "torch_dtype"
    model = cls.from_pretrained(sd15 / name, **{takes: dtype})
    in_file = nbytes(cls.from_pretrained(sd15 / name, **{takes: torch.float32}))
    # diffusers is counted as it reads, transformers as it has converted
    expected = nbytes(model) if takes == "dtype" else in_file
    half = len(positions) // 2
    assert_each_byte_is_told(positions[:half], "read", expected)


def test_a_load_ends_at_the_tensor_where_it_is_cancelled(sd15: Path) -> None:
    control, seen = RunControl(), []

    def count(_phase: str, done: int, total: int) -> None:
        seen.append(done / total)
        if done > total / 2:
            control.cancel()
        control.check()

    listener = Listener(count, lambda *_: None)
    with progress_bars.listening(listener), pytest.raises(Cancelled), default_dtype_kept():
        UNet2DConditionModel.from_pretrained(sd15 / "unet", torch_dtype=torch.float16)
    assert 0.5 < seen[-1] < 1
    assert all(part <= 0.5 for part in seen[:-1])
    assert torch.get_default_dtype() == torch.float32


def test_a_model_moves_tensor_by_tensor(sd15: Path, positions: list[Position]) -> None:
    vae = AutoencoderKL.from_pretrained(sd15 / "vae")
    positions.clear()
    assert weight_reading.moved(vae, torch.device("meta")) is vae
    assert_each_byte_is_told(positions, "move", nbytes(vae))
    assert {value.device.type for value in vae.state_dict().values()} == {"meta"}


def test_a_move_keeps_what_is_tied() -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    weight_reading.moved(model, torch.device("cpu"))
    assert model["b"].weight is model["a"].weight
