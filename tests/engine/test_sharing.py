"""What a step takes over from an earlier one: its pipeline."""

from __future__ import annotations

import json
from pathlib import Path

from tests.engine.session import PNG, Json, Session, generate, workflow

CALL = {"prompt": "a dog", "num_inference_steps": 3, "width": 64, "height": 64}


def again(reference: str = "gen", name: str = "again", **arguments: object) -> Json:
    action = {"reference_name": reference, "arguments": {**CALL, **arguments}}
    return {"name": name, "pipeline_reference": action, "result": PNG}


def test_a_referenced_pipeline_draws_what_a_step_of_its_own_would(
    session: Session, sd15: Path
) -> None:
    own = {**generate(sd15, arguments=CALL), "name": "again"}
    pictures = session.hashes(workflow(generate(sd15), own))
    assert session.hashes(workflow(generate(sd15), again())) == pictures
    assert session.loaded == ()
    assert session.seen.named("loading") == []


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
    assert warm.seen.named("loading") == []


def test_a_wrong_class_is_told_once(warm: Session) -> None:
    wrong = generate("any/model", configuration={"component_type": "EulerDiscreteScheduler"})
    [problem] = warm.engine.check(warm.document(workflow(wrong, again())))
    assert problem.message == "'EulerDiscreteScheduler' is not a diffusers pipeline"


def test_the_seed_of_each_call_is_recorded(session: Session, sd15: Path) -> None:
    result = session.run(workflow(generate(sd15), {**again(), "seed": 8}))
    record = json.loads((Path(result.output_dir) / "run.json").read_text())
    assert record["steps"] == [{"name": "gen", "seed": 7}, {"name": "again", "seed": 8}]
