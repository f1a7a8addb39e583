"""What a step may take over from an earlier one; `¶` marks the place of the problem."""

from __future__ import annotations

import pytest

from tests.workflow.samples import parse, pipeline, problems, unmarked, workflow

GEN = '{"name": "gen", "pipeline": {"configuration": {"component_type": "FluxPipeline"}, '
GEN += '"from_pretrained_arguments": {"model_name": "a/b"}, "arguments": {}}}'
CUT = '{"name": "cut", "task": {"command": "crop_square"}}'


def steps(*each: str) -> str:
    return '{"id": "w", "variables": {"which": "gen"}, "steps": [\n' + ",\n".join(each) + "]}"


def again(reference: str, *, name: str = "again", more: str = "") -> str:
    parts = f'"reference_name": {reference}, "arguments": {{}}{more}'
    return f'{{"name": "{name}", "pipeline_reference": {{{parts}}}}}'


REFERENCES = [
    (steps(GEN, again('¶"gne"')), "unknown step 'gne' (did you mean 'gen'?)"),
    (steps(GEN, again('¶"xyz"')), "unknown step 'xyz'"),
    (
        steps(again('¶"gen"'), GEN),
        "step 'gen' is not an earlier step: its pipeline does not exist yet",
    ),
    (
        steps(GEN, again('¶"again"')),
        "step 'again' is not an earlier step: its pipeline does not exist yet",
    ),
    (steps(CUT, again('¶"cut"')), "step 'cut' has no pipeline"),
    (
        steps(GEN, again('"gen"'), again('¶"again"', name="third")),
        "step 'again' has no pipeline",
    ),
    (
        steps(GEN[:-1] + ', "release_pipeline": true}', again('¶"gen"')),
        "step 'gen' releases the pipeline of step 'gen'",
    ),
    (
        steps(
            GEN,
            again('"gen"', name="last")[:-1] + ', "release_pipeline": true}',
            again('¶"gen"'),
        ),
        "step 'last' releases the pipeline of step 'gen'",
    ),
    (steps(GEN, again("¶5")), "'reference_name' must be a string, got 5"),
    (
        steps(GEN, again('"gen"', more=', ¶"argumnts": {}')),
        "unknown key 'argumnts' (did you mean 'arguments'?)",
    ),
    (
        steps(GEN, again('"gen"').replace('"pipeline_reference"', '¶"pipeline_referense"')),
        "unknown key 'pipeline_referense' (did you mean 'pipeline_reference'?)",
    ),
]


def pipe(name: str, more: str) -> str:
    return GEN.replace('"gen"', f'"{name}"').replace(
        '"arguments": {}', f'"arguments": {{}}, {more}'
    )


REUSED = [
    (
        steps(GEN, pipe("b", '"reused_components": [¶"vae"]')),
        "no earlier step shares 'vae'; list it in its 'shared_components'",
    ),
    (
        steps(
            pipe("a", '"shared_components": ["vae"]'),
            pipe("b", '"reused_components": ["vae", ¶"vea"]'),
        ),
        "no earlier step shares 'vea' (did you mean 'vae'?)",
    ),
    (
        steps(
            pipe("b", '"reused_components": [¶"vae"]'),
            pipe("a", '"shared_components": ["vae"]'),
        ),
        "no earlier step shares 'vae'; list it in its 'shared_components'",
    ),
    (
        steps(
            GEN.replace('Pipeline"}', 'Pipeline", "shared_components": ["transformer"]}'),
            pipe("b", '"x": 1').replace('Pipeline"}', 'Pipeline", "reused_components": [¶"xyz"]}'),
        ),
        "no earlier step shares 'xyz'; shared are transformer",
    ),
    (
        steps(
            pipe("a", '"shared_components": ["vae"]'),
            pipe(
                "b",
                '"reused_components": [¶"vae"], "vae": {"configuration": {"component_type": '
                '"AutoencoderKL"}, "from_pretrained_arguments": {"model_name": "a/b"}}',
            ),
        ),
        "'vae' has an override here and cannot be reused",
    ),
    (
        steps(pipe("a", '"shared_components": ¶"vae"')),
        "'shared_components' must be a list, got 'vae'",
    ),
]


@pytest.mark.parametrize(("text", "message"), [*REFERENCES, *REUSED])
def test_what_cannot_be_taken_over_is_told(text: str, message: str) -> None:
    plain, line, column = unmarked(text)
    found = {(each.line, each.column, each.message) for each in problems(plain)}
    assert (line, column, message) in found


def test_the_pipeline_of_an_earlier_step_is_called_again() -> None:
    gen = {"name": "gen", "pipeline": pipeline()}
    reference = {"reference_name": "variable:which", "arguments": {"prompt": "a dog"}}
    again = {"name": "again", "pipeline_reference": reference}
    document = parse(workflow(gen, again, variables={"which": "gen"}))
    bound = document.bind()
    assert bound.pipeline_of(bound.steps[1]) is bound.steps[0].pipeline
    assert bound.pipeline_of(bound.steps[0]) is bound.steps[0].pipeline
