"""What stands beside a pipeline's configuration; `¶` marks the place of the problem."""

from __future__ import annotations

import pytest

from tests.workflow.samples import problems, unmarked

PIPE = '{"id": "w", "steps": [{"name": "gen", "pipeline": {"configuration": {"component_type": '
PIPE += '"FluxPipeline"}, "from_pretrained_arguments": {"model_name": "a/b"}, '


def pipe(more: str, arguments: str = '"arguments": {"prompt": "a fox"}') -> str:
    return f"{PIPE}{arguments}, {more}}}}}]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            pipe('"remote_text_encoder": {"url": ¶"file:///etc/passwd"}'),
            "'url' must be a http or https URL, got 'file:///etc/passwd'",
        ),
        (pipe('"remote_text_encoder": ¶{}'), "'remote_text_encoder' needs 'url'"),
        (
            pipe('"remote_text_encoder": {"url": "https://a.b"}', '"arguments": ¶{}'),
            "a remote text encoder needs the argument 'prompt'",
        ),
        (
            pipe('"ip_adapter": {"model_name": "a/b"}', '"arguments": ¶{"prompt": "a fox"}'),
            "an IP-Adapter needs the argument 'ip_adapter_image'",
        ),
        (
            pipe('"ip_adapter": {"model_name": "a/b", ¶"weightname": "x"}'),
            "unknown key 'weightname' (did you mean 'weight_name'?)",
        ),
        (
            pipe('"controlnet": {"configuration": ¶{}, "from_pretrained_arguments": {}}'),
            "'configuration' needs 'component_type'",
        ),
        (
            pipe('"audio_scheduler": {"shift": ¶-1}'),
            "'shift' must be above 0, got -1",
        ),
        *(
            (
                pipe(f'"ip_adapter": {{"model_name": "a/b", "scale": ¶{scale}}}'),
                f"'scale' must be a number, or numbers by block of the model, got {told}",
            )
            for scale, told in [
                ('"big"', "'big'"),
                ('"nan"', "'nan'"),
                ("true", "true"),
                ('{"up": ["much"]}', '{"up": ["much"]}'),
            ]
        ),
    ],
)
def test_a_problem_has_its_place_and_its_words(text: str, message: str) -> None:
    plain, line, column = unmarked(text)
    found = {(each.line, each.column, each.message) for each in problems(plain)}
    assert (line, column, message) in found
