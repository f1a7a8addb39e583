"""What a step takes over from an earlier one: its pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from dw.events import Loading
from tests.engine.session import PNG, Json, Session, generate, workflow

CALL = {"prompt": "a dog", "num_inference_steps": 3, "width": 64, "height": 64}


def again(reference: str = "gen", name: str = "again", **arguments: object) -> Json:
    action = {"reference_name": reference, "arguments": {**CALL, **arguments}}
    return {"name": name, "pipeline_reference": action, "result": PNG}


def test_a_referenced_pipeline_draws_what_a_step_of_its_own_would(
    session: Session, sd15: Path
) -> None:
    own = {**generate(sd15, arguments=CALL), "name": "again"}
    images = session.hashes(workflow(generate(sd15), own))
    assert session.hashes(workflow(generate(sd15), again())) == images
    assert session.loaded == ()
    assert session.seen(Loading) == []


def test_a_reference_keeps_the_scheduler_and_the_settings(session: Session, sd15: Path) -> None:
    ddim = {"configuration": {"scheduler_type": "DDIMScheduler"}}
    first = generate(sd15, scheduler=ddim, arguments=CALL)
    one, other = session.hashes(workflow(first, again()))
    assert one == other
    assert session.hashes(workflow(generate(sd15), again()))[1] != one


def test_a_reference_is_seeded_by_its_own_step(session: Session, sd15: Path) -> None:
    same = session.hashes(workflow(generate(sd15, arguments=CALL), again()))
    assert same[0] == same[1]
    other = session.hashes(workflow(generate(sd15, arguments=CALL), {**again(), "seed": 8}))
    assert other[0] == same[0] != other[1]


def test_a_reference_takes_results(session: Session, sd15: Path) -> None:
    gather = {
        "name": "prompts",
        "task": {"command": "gather_inputs", "inputs": ["a cat", "a dog"]},
    }
    document = workflow(gather, generate(sd15), again(prompt="previous_result:prompts"))
    assert len(set(session.hashes(document))) == 3


def test_the_arguments_of_a_reference_are_checked(warm: Session, sd15: Path) -> None:
    document = warm.document(workflow(generate(sd15), again(promt="a dog")))
    [problem] = warm.engine.check(document)
    assert (
        problem.message == "StableDiffusionPipeline takes no argument 'promt' "
        "(did you mean 'prompt'?)"
    )
    assert '"promt"' in document.text.splitlines()[problem.line - 1]


def test_a_reference_to_a_generic_pipeline_is_checked_when_its_class_is_known(
    warm: Session, sd15: Path
) -> None:
    generic = generate(sd15, configuration={"component_type": "DiffusionPipeline"})
    error = warm.fail(workflow(generic, again(promt="a dog")))
    assert "takes no argument 'promt'" in error.message
    assert warm.seen(Loading) == []


REFINE = {"component_type": "StableDiffusionImg2ImgPipeline"}


def refine(model: Path, **changes: object) -> Json:
    """A step that draws over the image of `gen` with its VAE."""
    step = generate(model, configuration=REFINE, reused_components=["vae"], **changes)
    step["pipeline"]["arguments"] = {"prompt": "a dog", "image": "previous_result:gen"}
    return {**step, "name": "refine"}


@pytest.fixture
def other(sd15: Path, tmp_path: Path) -> Path:
    """The same model with another VAE."""
    folder = tmp_path / "other"
    folder.mkdir()
    for part in sd15.iterdir():
        if part.name != "vae":
            (folder / part.name).symlink_to(part)
    torch.manual_seed(5)
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(sd15 / "vae"))
    vae.save_pretrained(folder / "vae")
    return folder


def test_a_reused_component_is_that_of_the_step_that_shares_it(
    session: Session, sd15: Path, other: Path
) -> None:
    shares = generate(sd15, shared_components=["vae"])
    plain = [shares, {**refine(sd15), "name": "refine"}]
    images = session.hashes(workflow(*plain))
    assert session.hashes(workflow(shares, refine(other))) == images
    assert session.loaded == ()
    assert session.hashes(workflow(shares, refine(other))) == images  # on a second run, too
    own = refine(other)
    del own["pipeline"]["reused_components"]
    assert session.hashes(workflow(shares, own)) != images
    assert session.loaded == ("refine.vae",)


def test_the_lists_may_stand_in_the_configuration(
    session: Session, sd15: Path, other: Path
) -> None:
    beside = session.hashes(workflow(generate(sd15, shared_components=["vae"]), refine(other)))
    inside = refine(other)
    del inside["pipeline"]["reused_components"]
    inside["pipeline"]["configuration"]["reused_components"] = ["vae"]
    shares = generate(sd15, configuration={"shared_components": ["vae"]})
    assert session.hashes(workflow(shares, inside)) == beside


def test_a_shared_scheduler_is_the_one_that_the_step_put_in(session: Session, sd15: Path) -> None:
    ddim = {"configuration": {"scheduler_type": "DDIMScheduler"}}
    shares = generate(sd15, scheduler=ddim, shared_components=["scheduler"], arguments=CALL)
    reuses = {**generate(sd15, reused_components=["scheduler"], arguments=CALL), "name": "again"}
    one, other = session.hashes(workflow(shares, reuses))
    assert one == other


def test_a_step_cannot_share_what_its_pipeline_does_not_have(warm: Session, sd15: Path) -> None:
    document = warm.document(workflow(generate(sd15, shared_components=["transformer"])))
    [problem] = warm.engine.check(document)
    wanted = "StableDiffusionPipeline has no component 'transformer'; it has "
    assert problem.message.startswith(wanted)
    left_out = generate(sd15, shared_components=["safety_checker"])
    reuses = refine(sd15)
    reuses["pipeline"]["reused_components"] = ["safety_checker"]
    assert warm.fail(workflow(left_out, reuses)).message == (
        "'safety_checker' cannot be shared: StableDiffusionPipeline has none here"
    )


def test_modular_pipelines_share_with_the_others(session: Session, flux: Path) -> None:
    whole = {"component_type": "FluxPipeline"}
    first = generate(flux, configuration=whole, shared_components=["transformer", "vae"])
    modular = generate(
        flux,
        configuration={"component_type": "ModularPipeline"},
        reused_components=["transformer", "vae"],
    )
    assert session.hashes(workflow(first, {**modular, "name": "again"}))
    assert all(label.startswith("gen.") for label in session.loaded)


def test_a_wrong_class_is_told_once(warm: Session) -> None:
    wrong = generate("any/model", configuration={"component_type": "EulerDiscreteScheduler"})
    [problem] = warm.engine.check(warm.document(workflow(wrong, again())))
    assert problem.message == "'EulerDiscreteScheduler' is not a diffusers pipeline"


def test_the_seed_of_each_call_is_recorded(session: Session, sd15: Path) -> None:
    result = session.run(workflow(generate(sd15), {**again(), "seed": 8}))
    record = json.loads((Path(result.output_dir) / "run.json").read_text())
    assert record["steps"] == [{"name": "gen", "seed": 7}, {"name": "again", "seed": 8}]


def in_memory(session: Session) -> set[str]:
    return {row.name for row in session.engine.memory().components}


def test_a_released_pipeline_makes_room_for_the_next(
    session: Session, sd15: Path, flux: Path
) -> None:
    first = {**generate(sd15), "release_pipeline": True}
    second = generate(flux, configuration={"component_type": "FluxPipeline"})
    document = workflow(first, {**second, "name": "last"})
    images = session.hashes(document)
    assert session.loaded == ("gen.text_encoder", "gen.tokenizer", "gen.unet", "gen.vae")
    assert not in_memory(session) & {"gen.text_encoder", "gen.unet", "gen.vae"}
    assert session.hashes(document) == images
    kept = workflow(generate(sd15), {**second, "name": "last"})
    assert session.hashes(kept) == images


def test_what_another_step_needs_is_not_released(session: Session, sd15: Path, other: Path) -> None:
    first = {**generate(sd15, shared_components=["vae"]), "release_pipeline": True}
    session.run(workflow(first, refine(other)))
    assert [event.component for event in session.seen(Loading)] == [
        *("gen.text_encoder", "gen.tokenizer", "gen.unet", "gen.vae"),
    ]


def test_a_step_that_calls_it_may_release_it(session: Session, sd15: Path) -> None:
    last = {**again(), "release_pipeline": True}
    session.run(workflow(generate(sd15), last))
    assert in_memory(session) == set()
