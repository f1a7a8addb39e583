"""What weights take is told by the headers of their files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dw.engine.device import Cpu, DeviceMemory
from dw.engine.models.spec import ComponentSpec, Offload, Placement
from dw.engine.models.weights import memory_bytes, too_large
from tests.engine.session import Session, text_to_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 numbers of 32 bits and 10 of 64 in two files."""
    tensors = {"a": torch.zeros(10, 10), "b": torch.zeros(200)}
    save_file(tensors, tmp_path / "model-1.safetensors", metadata={"format": "pt"})
    save_file({"c": torch.zeros(10, dtype=torch.int64)}, tmp_path / "model-2.safetensors")
    return tmp_path


@pytest.mark.parametrize(
    ("dtype", "nbytes"),
    [(None, 1280), (torch.float32, 1280), (torch.bfloat16, 680), (torch.float8_e4m3fn, 380)],
)
def test_numbers_are_counted_in_the_dtype_that_they_get(
    folder: Path, dtype: torch.dtype | None, nbytes: int
) -> None:
    assert memory_bytes(folder, dtype) == nbytes


def test_the_bytes_are_those_of_the_loaded_model(sd15: Path, session: Session) -> None:
    session.run(text_to_image(sd15, from_pretrained_arguments={"torch_dtype": "torch.float16"}))
    rows = {row.name: row.nbytes for row in session.engine.memory().components}
    for part in ("unet", "vae", "text_encoder"):
        assert rows[f"gen.{part}"] == pytest.approx(
            memory_bytes(sd15 / part, torch.float16), rel=0.02
        )


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x05" + bytes(7) + b"{...}"])
def test_a_broken_file_counts_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert memory_bytes(tmp_path) == 0


@dataclass(frozen=True)
class Small(Cpu):
    """A device with 1000 bytes free."""

    def memory(self) -> DeviceMemory:
        return DeviceMemory(0, 0, 1000, 1000)


SMALL = Small("cpu", "for the test", lambda: 0)


def spec(folder: Path, offload: Offload | None, **more: Any) -> ComponentSpec:
    return ComponentSpec(
        torch.nn.Module, "x", torch.float32, Placement("cpu", offload), source=folder, **more
    )


def test_what_does_not_fit_is_told_before_it_loads(folder: Path) -> None:
    assert too_large([spec(folder, None)], SMALL) == (
        "the weights take 1280 bytes on cpu, which has 1000 bytes free"
    )
    assert too_large([spec(folder, "model"), spec(folder, "model")], SMALL) is not None
    assert too_large([spec(folder, "sequential")], SMALL) is None
    assert too_large([spec(folder / "model-2.safetensors", None)], SMALL) is None


def test_a_run_warns_of_it(session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.engine, "_find_device", lambda _: SMALL)
    session.run(text_to_image(sd15))
    [(message,)] = session.seen.named("warned")
    assert message.endswith("MB on cpu, which has 1000 bytes free")
