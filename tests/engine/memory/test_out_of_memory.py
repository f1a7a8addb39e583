"""A lack of memory: a second try with less on the device, or an error that says what would fit."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.autoencoders.vae import Decoder

from dw.engine.files.outputs import OutputWriter
from dw.engine.memory.out_of_memory import HALF, LAYERS, OFFLOAD, SMALLER, TILING, OutOfMemoryReport
from dw.engine.models.cache import CachedComponent
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.spec import ComponentSpec, Placement
from dw.errors import OutOfResources
from dw.events import Produced
from tests.engine.session import Session, generate, on_a_gpu, text_to_image, workflow

CUDA = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB of "
    "which 1.50 GiB is free."
)
CPU = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."
GB = 2**30


class RunsOut:
    """Makes a net raise at the calls of these numbers, from 1."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.calls = 0

    def of_memory(self, net: type, error: Exception, *, at: Sequence[int] = (1,)) -> None:
        forward = net.forward  # type: ignore[attr-defined]

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls in at:
                raise error
            return forward(*args, **kwargs)

        self._patch.setattr(net, "forward", wrapped)


@pytest.fixture
def runs_out(monkeypatch: pytest.MonkeyPatch) -> RunsOut:
    return RunsOut(monkeypatch)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(CUDA), MemoryError(), RuntimeError(CPU)])
def test_the_next_run_loads_nothing_and_draws_the_same(
    session: Session, sd15: Path, runs_out: RunsOut, error: Exception
) -> None:
    before = session.hashes(text_to_image(sd15))
    runs_out.of_memory(UNet2DConditionModel, error)
    failed = session.fail(text_to_image(sd15))
    assert isinstance(failed, OutOfResources)
    assert failed.where == "step 'gen', denoise"
    assert "gen.text_encoder" in failed.message
    assert session.hashes(text_to_image(sd15)) == before
    assert session.loaded == ()


def test_a_decode_that_is_too_large_is_advised_to_tile(
    session: Session, sd15: Path, runs_out: RunsOut
) -> None:
    runs_out.of_memory(Decoder, MemoryError(), at=(1, 2))
    failed = session.fail(text_to_image(sd15))
    assert failed.where == "step 'gen', decode"
    assert failed.hints == (TILING, HALF, SMALLER)
    tiled = text_to_image(sd15, configuration={"vae": {"enable_tiling": True}})
    assert session.fail(tiled).hints == (HALF, SMALLER)


def test_a_pipeline_that_cannot_be_put_right_is_loaded_again(
    session: Session, sd15: Path, runs_out: RunsOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(_: Any) -> None:
        raise MemoryError

    before = session.hashes(text_to_image(sd15))
    runs_out.of_memory(UNet2DConditionModel, MemoryError())
    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionPipeline, "maybe_free_model_hooks", dies)
        session.fail(text_to_image(sd15))
    assert session.hashes(text_to_image(sd15)) == before
    assert "gen.unet" in session.loaded


class TestOnAGpu:
    @pytest.fixture
    def gpu(self, session: Session) -> Session:
        return on_a_gpu(session)

    def offloads(self, session: Session) -> set[Any]:
        placements = (c.spec.placement for c in session.engine._cache.components())
        return {placement.offload for placement in placements if placement is not None}

    def test_it_is_done_once_more_with_less_on_the_device(
        self, gpu: Session, sd15: Path, runs_out: RunsOut
    ) -> None:
        before = gpu.hashes(text_to_image(sd15))
        runs_out.of_memory(UNet2DConditionModel, torch.OutOfMemoryError(CUDA))
        assert gpu.hashes(text_to_image(sd15)) == before
        assert self.offloads(gpu) == {"model"}
        assert "2.0 GB more were asked for; 1.5 GB were free" in gpu.warnings[0]
        assert "once more with offload 'model'" in gpu.warnings[0]

    def test_what_made_room_is_used_at_once_until_clear(
        self, gpu: Session, sd15: Path, runs_out: RunsOut
    ) -> None:
        runs_out.of_memory(UNet2DConditionModel, torch.OutOfMemoryError(CUDA))
        gpu.run(text_to_image(sd15))
        gpu.run(text_to_image(sd15))
        assert gpu.loaded == ()
        assert "an earlier run did not fit without it" in gpu.warnings[0]
        gpu.engine.clear()
        gpu.run(text_to_image(sd15))
        assert self.offloads(gpu) == {None}

    def test_an_edited_workflow_is_tried_without(
        self, gpu: Session, sd15: Path, runs_out: RunsOut
    ) -> None:
        runs_out.of_memory(UNet2DConditionModel, torch.OutOfMemoryError(CUDA))
        gpu.run(text_to_image(sd15))
        gpu.run(text_to_image(sd15, arguments={"width": 32}))
        assert self.offloads(gpu) == {None}

    def test_a_second_lack_is_the_end(self, gpu: Session, sd15: Path, runs_out: RunsOut) -> None:
        before = gpu.hashes(text_to_image(sd15))
        runs_out.of_memory(UNet2DConditionModel, torch.OutOfMemoryError(CUDA), at=(1, 2))
        failed = gpu.fail(text_to_image(sd15))
        assert isinstance(failed, OutOfResources)
        assert runs_out.calls == 2
        assert gpu.hashes(text_to_image(sd15)) == before

    def test_files_of_the_first_try_are_written_again(
        self, gpu: Session, sd15: Path, runs_out: RunsOut, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also those that were told as finished before the memory ran out."""
        monkeypatch.setattr(OutputWriter, "done", OutputWriter.drain)
        steps = [{**generate(sd15), "name": name} for name in ("one", "two")]
        before = gpu.run(workflow(*steps)).outputs
        runs_out.of_memory(Decoder, torch.OutOfMemoryError(CUDA), at=(2,))
        outputs = gpu.run(workflow(*steps)).outputs
        assert len(gpu.seen(Produced)) == 3
        assert [each.sha256 for each in outputs] == [each.sha256 for each in before]
        assert [Path(each.path).name for each in outputs] == [
            Path(each.path).name for each in before
        ]
        assert runs_out.calls == 4

    def test_a_full_disk_is_not_tried_again(
        self, gpu: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(os, "fsync", full)
        assert "no space left" in gpu.fail(text_to_image(sd15)).message
        assert gpu.warnings == []

    def test_after_the_last_offload_there_is_none_to_try(
        self, gpu: Session, sd15: Path, runs_out: RunsOut, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # The hooks of single layers need a real device, so the pipeline goes without them here.
        monkeypatch.setattr(StableDiffusionPipeline, "enable_sequential_cpu_offload", nothing)
        runs_out.of_memory(UNet2DConditionModel, torch.OutOfMemoryError(CUDA))
        gpu.run(text_to_image(sd15, configuration={"offload": "model"}))
        assert self.offloads(gpu) == {"sequential"}
        runs_out.calls = 0
        last = text_to_image(sd15, configuration={"offload": "sequential"})
        assert isinstance(gpu.fail(last), OutOfResources)
        assert runs_out.calls == 1


def nothing(*_: Any, **__: Any) -> None:
    pass


def components(*sizes: int, dtype: torch.dtype = torch.bfloat16, offload: Any = None) -> Any:
    placement = Placement("cuda:0", offload)
    spec = ComponentSpec(torch.nn.Linear, Fingerprint(""), dtype, placement)
    found = [CachedComponent(f"gen.{index}", spec, None) for index in range(len(sizes))]
    for component, nbytes in zip(found, sizes, strict=True):
        component.nbytes, component.dtypes = nbytes, frozenset({dtype})
    return found


def report(text: str = CUDA, loaded: Any = (), **changes: Any) -> OutOfMemoryReport:
    known = {"free": GB, "has_host": True, "decodes_whole": False, **changes}
    return OutOfMemoryReport(text=text, loaded=loaded, **known)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (CUDA, GB // 2),
        (CPU, 2 * GB),
        ("Unable to allocate 7.00 GiB for an array with shape (9,)", 6 * GB),
        ("MPS backend out of memory. Tried to allocate 512.00 MB on private pool.", None),
        ("CUBLAS_STATUS_ALLOC_FAILED", None),
    ],
)
def test_what_was_missing_is_read_from_the_error(text: str, missing: int | None) -> None:
    assert report(text).missing == missing


def test_the_largest_components_are_named() -> None:
    message = report(loaded=components(GB, 3 * GB, 20 * 2**20, 2 * GB)).message()
    assert message == (
        "out of memory: 2.0 GB more were asked for; 1.5 GB were free; "
        "held by gen.1 (3.0 GB), gen.3 (2.0 GB), gen.0 (1.0 GB)"
    )


def test_without_any_fact_the_message_has_none() -> None:
    assert report("").message() == "out of memory"


@pytest.mark.parametrize(
    ("loaded", "smallest"),
    [
        (components(GB, dtype=torch.float32), HALF),
        (components(GB, GB), OFFLOAD),
        (components(GB, 2**20), LAYERS),
        (components(2 * GB, offload="model"), LAYERS),
        (components(2 * GB, offload="sequential"), f"{SMALLER}, 86% of each"),
        ([], f"{SMALLER}, 86% of each"),
    ],
)
def test_the_smallest_change_that_would_have_fitted_comes_first(loaded: Any, smallest: str) -> None:
    assert report(loaded=loaded).hints()[0] == f"would have fitted: {smallest}"


def test_on_the_host_nothing_can_be_offloaded() -> None:
    hints = report(loaded=components(GB, GB), has_host=False).hints()
    assert hints == (f"would have fitted: {SMALLER}, 86% of each",)
