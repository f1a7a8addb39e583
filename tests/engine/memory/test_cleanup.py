from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from dw.engine.errors import DeviceDied
from dw.engine.models.live_models import LiveModels, tensor_bytes, tensors
from tests.engine.session import CancelsAt, Session, text_to_image

FLUX = {"component_type": "FluxPipeline"}


def test_before_anything_there_is_nothing(session: Session) -> None:
    memory = session.engine.memory()
    assert (memory.device, memory.allocated, memory.runs, memory.components) == ("CPU", 0, 0, ())
    assert 0 < memory.free < memory.total


def test_the_report_names_what_is_there(session: Session, sd15: Path) -> None:
    session.run(text_to_image(sd15))
    memory = session.engine.memory()
    rows = {row.name: row for row in memory.components}
    assert (rows["gen.unet"].class_name, rows["gen.unet"].dtype) == (
        "UNet2DConditionModel",
        "float32",
    )
    assert rows["gen.tokenizer"].nbytes == 0
    assert sum(row.nbytes for row in memory.components) == memory.allocated
    assert memory.runs == 1


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_clear_frees_everything_and_the_next_run_is_a_first_one(
    session: Session, family: str, request: pytest.FixtureRequest
) -> None:
    configuration = FLUX if family == "flux" else {}
    document = text_to_image(request.getfixturevalue(family), configuration=configuration)
    before = session.hashes(document)
    allocated = session.engine.memory().allocated
    cleared = session.engine.clear()
    assert (cleared.freed, cleared.survivors) == (allocated, ())
    assert session.engine.memory().allocated == 0
    assert session.hashes(document) == before
    assert session.reason == "first"


def test_a_survivor_is_named_with_what_holds_it(session: Session, sd15: Path) -> None:
    session.run(text_to_image(sd15))

    class Hoarder:
        def __init__(self, treasure: Any) -> None:
            self.treasure = treasure

    unet = next(c.value for c in session.engine._cache.components() if c.label == "gen.unet")
    hoarder = Hoarder(unet)
    del unet
    assert session.engine.clear().survivors == ("gen.unet (held by Hoarder)",)
    del hoarder
    gc.collect()
    assert session.engine.memory().allocated == 0


@pytest.mark.parametrize("ending", ["cancel", "error"])
def test_an_abnormal_end_holds_nothing_back(
    session: Session, sd15: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ending == "cancel":
        session.cancel(text_to_image(sd15), CancelsAt(2))
    else:
        monkeypatch.delattr(UNet2DConditionModel, "forward")
        session.fail(text_to_image(sd15))
    assert session.engine.clear().survivors == ()
    assert session.engine.memory().allocated == 0


def test_thirty_runs_are_flat(session: Session, flux: Path) -> None:
    document = session.document(text_to_image(flux, configuration=FLUX))
    process = psutil.Process()

    def measure() -> tuple[int, int, int]:
        gc.collect()
        return len(gc.get_objects()), process.num_fds(), process.num_threads()

    for _ in range(3):
        session.run(document)
    objects, fds, threads = measure()
    for _ in range(30):
        session.run(document)
    after = measure()
    assert after[0] < objects + 300
    assert after[1] == fds
    assert after[2] <= threads  # one of an engine that is gone may have ended meanwhile


class TestSettle:
    @pytest.fixture
    def unet(self, session: Session, sd15: Path) -> Any:
        session.run(text_to_image(sd15))
        return next(c.value for c in session.engine._cache.components() if c.label == "gen.unet")

    def test_a_dtype_that_a_run_left_behind_is_put_right(self, session: Session, unet: Any) -> None:
        unet.to(torch.float64)
        session.engine.recover()
        assert unet.dtype == torch.float32

    def test_attention_processors_are_put_back(
        self, session: Session, unet: Any, sd15: Path
    ) -> None:
        before = session.hashes(text_to_image(sd15))
        original = dict(unet.attn_processors)
        unet.set_attn_processor(AttnProcessor())
        session.engine.recover()
        assert unet.attn_processors == original
        assert session.hashes(text_to_image(sd15)) == before

    def test_a_model_that_was_rounded_is_loaded_again(
        self, session: Session, sd15: Path, unet: Any
    ) -> None:
        before = session.hashes(text_to_image(sd15))
        unet.to(torch.bfloat16)
        session.engine.recover()
        assert session.hashes(text_to_image(sd15)) == before
        assert session.loaded == ("gen.unet",)

    def test_the_last_uncaught_exception_is_forgotten(self, session: Session) -> None:
        sys.last_value = ValueError()
        session.engine.recover()
        assert not hasattr(sys, "last_value")

    def test_a_dead_device_is_not_touched(
        self, session: Session, sd15: Path, monkeypatch: Any
    ) -> None:
        def dies(*_: Any, **__: Any) -> None:
            raise torch.AcceleratorError("an illegal memory access was encountered")

        monkeypatch.setattr(UNet2DConditionModel, "forward", dies)
        monkeypatch.setattr(StableDiffusionPipeline, "maybe_free_model_hooks", dies)
        error = session.fail(text_to_image(sd15))
        assert isinstance(error, DeviceDied)
        assert error.fatal


class TestLedger:
    def test_it_holds_nothing_alive(self) -> None:
        live_models, model = LiveModels(), torch.nn.Linear(2, 2)
        live_models.add("a", model)
        assert [name for name, _ in live_models.living()] == ["a"]
        assert live_models.live_bytes() == 24
        watch = weakref.ref(model)
        del model
        assert watch() is None
        assert live_models.living() == []

    def test_a_shared_storage_counts_once(self) -> None:
        model = torch.nn.Linear(2, 2, bias=False)
        model.twin = torch.nn.Parameter(model.weight.detach())
        assert tensor_bytes(tensors(model)) == 16

    def test_tokenizers_do_not_count(self) -> None:
        live_models = LiveModels()
        live_models.add("tokenizer", object())
        assert live_models.living() == []


def test_the_engines_pipelines_are_never_made_with_from_pipe(
    session: Session, sd15: Path, monkeypatch: Any
) -> None:
    def from_pipe(*args: Any, **kwargs: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(StableDiffusionPipeline, "from_pipe", from_pipe)
    session.run(text_to_image(sd15))
    assert os.path.exists(session.folder / "outputs")
