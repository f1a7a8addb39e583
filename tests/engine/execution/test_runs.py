from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from PIL import Image

from dw.errors import Rehearse, RunFailed, UsageError, WorkflowError
from dw.events import (
    Executing,
    Loaded,
    Loading,
    Mapped,
    Planned,
    Produced,
    Started,
    Stepped,
    StepStarted,
)
from tests.engine.session import Session, generate, text_to_image, workflow

# The Euler scheduler of SDXL, with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_the_second_run_loads_nothing_and_draws_the_same(session: Session, sd15: Path) -> None:
    cold = session.hashes(text_to_image(sd15))
    assert session.reason == "first"
    assert session.loaded == ("gen.text_encoder", "gen.tokenizer", "gen.unet", "gen.vae")
    assert session.hashes(text_to_image(sd15)) == cold
    assert session.reason == "cached"
    assert session.loaded == ()


def test_the_image_is_the_one_that_diffusers_draws(warm: Session, sd15: Path) -> None:
    ours = warm.run(text_to_image(sd15), seed=5).outputs[0]
    pipeline = DiffusionPipeline.from_pretrained(sd15)
    arguments = {"prompt": "a cat", "num_inference_steps": 4, "width": 64, "height": 64}
    theirs = pipeline(**arguments, generator=torch.Generator().manual_seed(5)).images[0]
    with Image.open(ours.path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(theirs))


def test_an_image_after_an_error_equals_one_before(warm: Session, sd15: Path) -> None:
    before = warm.hashes(text_to_image(sd15))
    error = warm.fail(text_to_image(sd15, arguments={"width": 63}))
    assert isinstance(error, RunFailed)
    assert "divisible by 8" in error.message
    assert error.where == "step 'gen'"
    assert error.__cause__ is not None
    assert warm.hashes(text_to_image(sd15)) == before
    assert warm.loaded == ()


def test_an_error_inside_the_loop_says_so(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(UNet2DConditionModel, "forward")
    assert warm.fail(text_to_image(sd15)).where == "step 'gen', denoise"


def test_events_come_in_the_order_of_the_run(session: Session, sd15: Path) -> None:
    session.run(text_to_image(sd15))
    steps = [event for event in session.seen(Stepped) if event.phase != "read"]  # of a slow disk
    others = [event for event in session.events if not isinstance(event, Stepped)]
    kinds = [type(event) for event in (*others[:-1], *steps, others[-1])]
    assert list(dict.fromkeys(kinds)) == [
        *(Started, Planned, Mapped, Loading, Loaded, Executing),
        *(StepStarted, Stepped, Produced),
    ]
    assert {(event.name, event.phase, event.total) for event in steps} == {("gen", "denoise", 4)}
    assert (steps[0].done, steps[-1].done) == (0, 4)
    weights = {file.path for event in session.seen(Mapped) for file in event.files}
    assert weights == set(sd15.glob("*/*.safetensors"))


def test_a_warm_run_says_nothing_of_loading(session: Session, sd15: Path) -> None:
    session.run(text_to_image(sd15))
    session.run(text_to_image(sd15))
    assert session.seen(Loading) == session.seen(Loaded) == session.seen(Mapped) == []


class TestSeeds:
    def test_one_seed_gives_one_image_and_another_another(self, warm: Session, sd15: Path) -> None:
        first = warm.hashes(text_to_image(sd15), seed=1)
        assert warm.hashes(text_to_image(sd15), seed=1) == first
        assert warm.hashes(text_to_image(sd15), seed=2) != first

    def test_the_nearest_seed_wins(self, warm: Session, sd15: Path) -> None:
        nine = warm.hashes(text_to_image(sd15), seed=9)
        step = generate(sd15)
        assert warm.hashes(workflow(step, seed=9), seed=None) == nine
        assert warm.hashes(workflow({**step, "seed": 9}, seed=1), seed=2) == nine
        assert warm.hashes(workflow({**generate(sd15, seed=9), "seed": 1}), seed=2) == nine

    def test_a_run_without_a_seed_takes_the_drawn_one(self, warm: Session, sd15: Path) -> None:
        result = warm.run(text_to_image(sd15), seed=None, drawn_seed=123)
        assert result.seed == 123
        assert warm.hashes(text_to_image(sd15), seed=result.seed) == [result.outputs[0].sha256]

    def test_a_scheduler_that_draws_from_the_global_generator_is_seeded(
        self, warm: Session, flux: Path
    ) -> None:
        changes = {
            "configuration": {"component_type": "FluxPipeline"},
            "scheduler": {"configuration": {"scheduler_type": "FlowMatchLCMScheduler"}},
        }
        first = warm.hashes(text_to_image(flux, **changes))
        torch.rand(3)
        assert warm.hashes(text_to_image(flux, **changes)) == first


class TestRefusals:
    def test_every_problem_is_told_at_its_place_and_nothing_is_made(
        self, session: Session, sd15: Path
    ) -> None:
        wrong = text_to_image(
            sd15, arguments={"widht": 64}, from_pretrained_arguments={"varaint": 1}
        )
        error = session.fail(wrong)
        assert isinstance(error, WorkflowError)
        lines = session.document(wrong).text.splitlines()
        for problem in error.problems:
            assert problem.message.split("'")[1] in lines[problem.line - 1]
        assert not (session.folder / "outputs").exists()

    def test_an_unknown_argument_is_a_usage_error(self, session: Session, sd15: Path) -> None:
        with pytest.raises(UsageError, match="promt"):
            session.run(text_to_image(sd15), promt="a cat")

    def test_a_device_that_is_not_here_is_a_usage_error(self, session: Session, sd15: Path) -> None:
        with pytest.raises(UsageError, match="available are cpu"):
            session.run(text_to_image(sd15), device="cuda:7")

    def test_a_missing_model_is_named_with_what_to_do(self, session: Session) -> None:
        error = session.fail(text_to_image("nobody/no-such-model"))
        assert isinstance(error, RunFailed)
        assert "'nobody/no-such-model'" in error.message
        assert Rehearse() in error.remedies


def test_the_record_of_a_run_is_beside_its_files(session: Session, sd15: Path) -> None:
    step = generate(
        sd15, arguments={"prompt": "variable:prompt", "num_inference_steps": "variable:steps"}
    )
    document = workflow(step, variables={"prompt": "a cat", "steps": 3})
    result = session.run(document, prompt="a dog")
    record = json.loads((Path(result.output_dir) / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["arguments"] == {"prompt": "a dog"}
    assert record["resolved_arguments"] == {"prompt": "a dog", "steps": 3}
    assert record["seed"] == 7
    assert record["steps"] == [{"name": "gen", "seed": 7}]
    assert record["outputs"][0]["sha256"] == result.outputs[0].sha256
    assert set(record["timings_s"]) == {"plan", "load", "execute"}


def test_runs_get_numbered_folders(session: Session, sd15: Path) -> None:
    folders = [Path(session.run(text_to_image(sd15)).output_dir) for _ in range(3)]
    assert [folder.name for folder in folders] == ["0001", "0002", "0003"]
    assert [f.name for f in folders[0].iterdir() if f.suffix == ".png"] == ["demo-gen.0-0.0.png"]


def test_rehearsal_needs_no_model(session: Session) -> None:
    document = text_to_image("somebody/a-gated-model")
    assert session.hashes(document, rehearse=True) == session.hashes(document, rehearse=True)


def test_an_image_tells_how_it_was_made_when_asked(session: Session, sd15: Path) -> None:
    step = generate(sd15)
    step["result"] = {"content_type": "image/png", "embed_metadata": True}
    [output] = session.run(workflow(step)).outputs
    with Image.open(output.path) as image:
        metadata = json.loads(image.info["parameters"])
    assert (metadata["step"], metadata["arguments"]["prompt"]) == ("gen", "a cat")
    assert metadata["seed"] == 7


def test_an_image_that_tells_of_another_has_the_same_bytes_each_time(
    warm: Session, sd15: Path
) -> None:
    Image.linear_gradient("L").save(warm.folder / "cat.png")
    step = generate(sd15, configuration={"component_type": "StableDiffusionImg2ImgPipeline"})
    step["pipeline"]["arguments"] = {"prompt": "a cat", "image": "cat.png"}
    step["result"] = {"content_type": "image/png", "embed_metadata": True}
    assert warm.hashes(workflow(step)) == warm.hashes(workflow(step))


@pytest.mark.parametrize(
    "switch",
    [{"enable_attention_slicing": True}, {"vae": {"enable_tiling": True, "enable_slicing": True}}],
)
def test_a_switch_of_one_run_does_not_stay_for_the_next(
    warm: Session, sd15: Path, switch: Any
) -> None:
    before = warm.hashes(text_to_image(sd15))
    warm.run(text_to_image(sd15, configuration=switch))
    assert warm.hashes(text_to_image(sd15)) == before
