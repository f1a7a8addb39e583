"""The size of weights, read from the headers of their files."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from dw.engine.device import Cpu, DeviceMemory
from dw.engine.memory.footprint import Footprint
from dw.engine.memory.out_of_memory import HALF, LAYERS, NO_SMALLER, OFFLOAD, QUANTIZED
from dw.engine.models.cache import LoadItem, StepRequirement
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.spec import (
    ComponentSpec,
    Offload,
    PipelineSpec,
    Placement,
    PlacementPlan,
    PostLoadChange,
    QuantizationSpec,
)
from tests.engine.session import Session, text_to_image

QUANTIZATION = QuantizationSpec(object, "{}")


@dataclass(frozen=True)
class SmallHost(Cpu):
    """2000 bytes, 1000 of them free."""

    def memory(self) -> DeviceMemory:
        return DeviceMemory(0, 0, 1000, 2000)

    def capacity(self) -> int | None:
        return 2000


@dataclass(frozen=True)
class Small(SmallHost):
    kind = "cuda"


SMALL = Small("cuda:0", "for the test", lambda: 0)
HOST = SmallHost("cpu", "for the test", lambda: 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 numbers of 32 bits and 10 of 64 in two files."""
    tensors = {"a": torch.zeros(10, 10), "b": torch.zeros(200)}
    save_file(tensors, tmp_path / "model-1.safetensors", metadata={"format": "pt"})
    save_file({"c": torch.zeros(10, dtype=torch.int64)}, tmp_path / "model-2.safetensors")
    return tmp_path


def load(source: Path, offload: Offload | None = None, **more: Any) -> LoadItem:
    placement = Placement("cuda:0", offload)
    usual = {
        "fingerprint": Fingerprint("x"),
        "dtype": torch.float32,
        "placement": placement,
        "source": source,
    }
    spec = ComponentSpec(torch.nn.Module, **{**usual, **more})
    need = StepRequirement(
        "gen", PipelineSpec(DiffusionPipeline, {}, {}, {}, PlacementPlan(placement))
    )
    return LoadItem(f"gen.{source.name}", torch.nn.Module, spec, need)


def nbytes(source: Path, **more: Any) -> int:
    [weights] = Footprint.of([load(source, **more)], SMALL).weights
    return weights.nbytes


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(None, 1280), (torch.float32, 1280), (torch.bfloat16, 680), (torch.float8_e4m3fn, 380)],
)
def test_numbers_are_counted_in_the_dtype_that_they_get(
    folder: Path, dtype: torch.dtype | None, expected: int
) -> None:
    assert nbytes(folder, dtype=dtype) == expected


def test_what_is_saved_quantized_is_counted_as_it_is(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"quantization_config": {}}))
    assert nbytes(folder, dtype=torch.bfloat16) == 1280


def test_the_files_of_a_variant_are_counted_alone(folder: Path) -> None:
    save_file({"a": torch.zeros(5)}, folder / "model.fp16.safetensors")
    (folder / "model.bin").write_bytes(bytes(9))
    assert nbytes(folder) == 1280
    assert nbytes(folder, variant="fp16") == 20


def test_the_bytes_are_those_of_the_loaded_model(sd15: Path, session: Session) -> None:
    session.run(text_to_image(sd15, from_pretrained_arguments={"torch_dtype": "torch.float16"}))
    rows = {row.name: row.nbytes for row in session.engine.memory().components}
    for part in ("unet", "vae", "text_encoder"):
        told = nbytes(sd15 / part, dtype=torch.float16)
        assert rows[f"gen.{part}"] == pytest.approx(told, rel=0.02)


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 8, b"\x05" + bytes(7) + b"{...}", b"\x02" + bytes(7) + b"[]"]
)
def test_a_broken_file_counts_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    assert nbytes(tmp_path) == 0


def test_what_does_not_fit_is_told_with_what_would(folder: Path) -> None:
    told = Footprint.of([load(folder)], SMALL).overflow()
    assert told == (
        "the weights take 1280 bytes on cuda:0, which has 1000 bytes free: "
        f"gen.{folder.name} (1280 bytes); would fit: {HALF}"
    )


def footprint(folder: Path, *offloads: Offload | None, **more: Any) -> Footprint:
    """Of components that are alike."""
    loads = (
        load(folder, each, fingerprint=Fingerprint(str(n)), **more)
        for n, each in enumerate(offloads)
    )
    return Footprint.of(loads, SMALL)


@pytest.mark.parametrize(
    ("dtype", "offloads", "change"),
    [
        (torch.float32, [None, None], HALF),
        (torch.bfloat16, [None, None, None], OFFLOAD),
        (torch.float64, [None], LAYERS),
        (torch.float64, ["model", "model"], LAYERS),
    ],
)
def test_the_smallest_change_that_would_fit_is_named(
    folder: Path, dtype: torch.dtype, offloads: list[Offload | None], change: str
) -> None:
    told = footprint(folder, *offloads, dtype=dtype).overflow(ever=True)
    assert told is not None
    assert told.endswith(f"would fit: {change}")


@pytest.mark.parametrize(
    ("dtype", "change"), [(torch.float64, QUANTIZED), (torch.float32, NO_SMALLER)]
)
def test_where_nothing_can_be_offloaded_models_are_made_smaller(
    folder: Path, dtype: torch.dtype, change: str
) -> None:
    count = 2 if dtype is torch.float64 else 7
    told = replace(footprint(folder, *[None] * count, dtype=dtype), device=HOST).overflow(ever=True)
    assert told is not None
    assert told.endswith(f"would fit: {change}")


@pytest.mark.parametrize(
    ("offload", "more"),
    [
        ("sequential", {}),
        ("group", {}),
        (None, {"placement": Placement("cuda:1")}),
        (None, {"placement": None}),
        (None, {"dtype": torch.float8_e4m3fn}),
    ],
)
def test_what_fits_is_not_told_and_has_room(
    folder: Path, offload: Offload | None, more: dict[str, Any]
) -> None:
    found = Footprint.of([load(folder, offload, **more)], SMALL)
    assert found.overflow() is None
    assert found.has_room()


@pytest.mark.parametrize(
    "more",
    [
        {"quantization": QUANTIZATION},
        {"changes": (PostLoadChange("cast_layerwise"),)},
        {"part": "unet"},
    ],
)
def test_what_gets_smaller_is_not_told_but_wants_its_room(
    folder: Path, more: dict[str, Any]
) -> None:
    found = footprint(folder, None, **more)
    assert found.overflow() is None
    assert not found.has_room()


def test_what_is_compiled_gets_no_smaller(folder: Path) -> None:
    assert footprint(folder, None, changes=(PostLoadChange("compile"),)).overflow() is not None


def test_a_file_that_is_packed_stays_so(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(bytes(1500))
    packed = load(tmp_path / "x.gguf", dtype=torch.bfloat16, quantization=QUANTIZATION)
    assert Footprint.of([packed], SMALL).overflow() is not None


def test_the_parts_of_a_file_are_counted_once(folder: Path) -> None:
    file = folder / "model-2.safetensors"
    loads = [load(file, part=part, dtype=torch.float32) for part in ("unet", "vae")]
    assert [each.nbytes for each in Footprint.of(loads, SMALL).weights] == [80]


def test_models_that_come_and_go_are_counted_one_at_a_time(folder: Path) -> None:
    assert footprint(folder, "on_demand", "model", dtype=torch.bfloat16).has_room()
    assert not footprint(folder, None, "model", dtype=torch.bfloat16).has_room()


def test_a_run_warns_of_it(session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.engine, "_find_device", lambda _: HOST)
    session.run(text_to_image(sd15))
    [message] = session.warnings
    assert "MB on cpu, which has 1000 bytes free: gen." in message
