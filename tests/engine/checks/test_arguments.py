"""Arguments of a call that fit its signature or nearly so, and that it cannot take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.session import Json, Session, generate, text_to_image, workflow

SD, IMG2IMG = "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"
IMAGE = {"media_type": "image", "location": "cat.png"}


def called(cls: str, arguments: Json) -> Json:
    """A call with these arguments alone."""
    document = text_to_image("any/model", configuration={"component_type": cls})
    document["steps"][0]["result"] = {"content_type": "image/gif"}  # of images and videos
    document["steps"][0]["pipeline"]["arguments"] = {"prompt": "a cat", **arguments}
    return document


def messages(session: Session, document: Json) -> list[str]:
    found = session.engine.check(session.document(document))
    return [each.message for each in found]


COUNTS = [
    (SD, "num_images_per_prompt"),
    (SD, "num_inference_steps"),
    (SD, "height"),
    ("WanPipeline", "num_frames"),
    ("WanPipeline", "num_videos_per_prompt"),
    ("AudioLDM2Pipeline", "num_waveforms_per_prompt"),
    ("StableCascadeCombinedPipeline", "prior_num_inference_steps"),
    ("StableVideoDiffusionPipeline", "decode_chunk_size"),
    ("FluxPipeline", "max_sequence_length"),
    ("MarigoldDepthPipeline", "ensemble_size"),
]


@pytest.mark.parametrize(("cls", "name"), COUNTS, ids=lambda each: each)
@pytest.mark.parametrize("value", [0, -3])
def test_a_count_is_at_least_1(warm: Session, cls: str, name: str, value: int) -> None:
    found = messages(warm, called(cls, {name: value}))
    assert f"{name!r} must be at least 1, got {value}" in found
    fitting = messages(warm, called(cls, {name: 64}))
    assert not [each for each in fitting if f"{name!r} must" in each]


def test_a_count_that_may_be_none_may_be_0(warm: Session) -> None:
    arguments = {"num_temporal_reasoning_steps": 0}
    assert messages(warm, called("ChronoEditPipeline", arguments)) == []


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (SD, {"clip_skip": -1}, "'clip_skip' must be at least 0, got -1"),
        (IMG2IMG, {"strength": 0}, "'strength' must be above 0 and at most 1, got 0"),
        (IMG2IMG, {"strength": 1.5}, "'strength' must be above 0 and at most 1, got 1.5"),
        (
            IMG2IMG,
            {"strength": 0.1, "num_inference_steps": 5},
            "'strength' 0.1 of 5 steps leaves none: at least 10 steps are needed",
        ),
        (
            IMG2IMG,
            {"num_inference_steps": 1},
            "'strength' 0.8 of 1 steps leaves none: at least 2 steps are needed",
        ),
        (IMG2IMG, {"strength": 0.2, "num_inference_steps": 5}, None),
        ("FluxImg2ImgPipeline", {"strength": 0.1, "num_inference_steps": 5}, None),  # rounds up
        (
            "StableDiffusionXLImg2ImgPipeline",
            {"strength": 0.01, "num_inference_steps": 5, "denoising_start": 0.8},
            None,
        ),
    ],
)
def test_a_number_out_of_range_is_told(
    warm: Session, cls: str, arguments: Json, message: str | None
) -> None:
    given = {**arguments, "image": IMAGE} if "Img2Img" in cls else arguments
    assert messages(warm, called(cls, given)) == ([] if message is None else [message])


@pytest.mark.parametrize(
    ("cls", "name", "value", "message"),
    [
        (SD, "callback_on_step_end", "print", "must be a function, which a workflow cannot give"),
        ("StableDiffusionUpscalePipeline", "callback", 5, "must be a function"),
        (SD, "latents", [[0.5]], "must be a tensor, which an earlier step gives: previous_result"),
        ("FluxPipeline", "prompt_embeds", "cat", "must be a tensor"),
        (SD, "ip_adapter_image_embeds", [[0.1]], "must be a list, got [[0.1]]"),
        (SD, "sigmas", ["1.0"], "must be a list of numbers, got"),
        (SD, "timesteps", [999, 1.5], "must be a list of integers, got"),
        (SD, "prompt", ["a", 5], "must be a string or a list of strings, got"),
        (IMG2IMG, "image", 5, "must be a file, a URL or a result of an earlier step, got 5"),
        (IMG2IMG, "image", [5], "must be a file, a URL or a result"),
        (SD, "prompt", "a\udcff", "holds a byte that is not UTF-8 text"),
        (SD, "guidance_scale", True, "must be a number, got true"),
    ],
)
def test_a_value_of_another_kind_is_told(
    warm: Session, cls: str, name: str, value: Any, message: str
) -> None:
    document = workflow(
        {
            **generate("any/model", configuration={"component_type": cls}),
            "pipeline": called(cls, {})["steps"][0]["pipeline"],
        },
        variables={"given": None},
    )
    document["steps"][0]["pipeline"]["arguments"][name] = "variable:given"
    failure = warm.fail(document, given=value, rehearse=True)
    told = [each.message for each in getattr(failure, "problems", ())]
    assert any(f"{name!r} {message}" in each for each in told), told


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SD, "latents", "previous_result:first"),
        (SD, "timesteps", [999, 500]),
        (SD, "sigmas", [1, 0.5]),
        (SD, "prompt", ["a", "b"]),
        (SD, "callback_on_step_end", None),
        (SD, "callback_on_step_end_tensor_inputs", ["{latents}"]),
        (SD, "cross_attention_kwargs", {"scale": 0.5}),
        (SD, "ip_adapter_image_embeds", ["previous_result:first"]),
        (IMG2IMG, "image", [IMAGE, IMAGE]),
        (IMG2IMG, "image", {"location": "cat.png"}),
        ("StableDiffusionXLPipeline", "original_size", [1024, 1024]),
        ("FluxControlNetPipeline", "control_mode", [0, 1]),
        ("WanVACEPipeline", "mask", "previous_result:first"),
    ],
)
def test_a_value_that_fits_is_not_told(warm: Session, cls: str, name: str, value: Any) -> None:
    first = {"name": "first", "task": {"command": "gather_inputs", "inputs": [1]}}
    [step] = called(cls, {name: value})["steps"]
    found = messages(warm, workflow(first, step))
    assert not [each for each in found if f"{name!r}" in each]


@pytest.mark.parametrize("value", [99, "torch.Generator('cuda').manual_seed(0)", None])
def test_a_generator_is_refused_with_the_place_of_the_seed(warm: Session, value: Any) -> None:
    for cls in (SD, "StableDiffusionXLModularPipeline"):
        [message] = messages(warm, called(cls, {"generator": value}))
        assert message == (
            "'generator' cannot be given; it is made of the seed: \"seed\": 7 beside 'arguments'"
        )


@pytest.mark.parametrize(
    ("cls", "name", "hint"),
    [
        (SD, "seed", "; write \"seed\": 7 beside 'arguments'"),
        (SD, "batch_size", " (did you mean 'num_images_per_prompt'?)"),
        (SD, "n_iter", " (did you mean 'num_images_per_prompt'?)"),
        ("WanPipeline", "batch_size", " (did you mean 'num_videos_per_prompt'?)"),
        (SD, "cfg_scale", " (did you mean 'guidance_scale'?)"),
        (SD, "steps", " (did you mean 'num_inference_steps'?)"),
        (IMG2IMG, "denoise", " (did you mean 'strength'?)"),
        (SD, "fps", "; write \"fps\": 16 inside 'result'"),
        (SD, "sampler", '; write "scheduler": '),
        ("FluxPipeline", "strength", "; FluxImg2ImgPipeline and FluxInpaintPipeline take it"),
        (SD, "mask_image", "; StableDiffusionInpaintPipeline takes it"),
    ],
)
def test_an_argument_of_another_place_is_told_with_it(
    warm: Session, cls: str, name: str, hint: str
) -> None:
    found = messages(warm, called(cls, {name: 1, "image": IMAGE} if "Img" in cls else {name: 1}))
    assert any(f"takes no argument {name!r}{hint}" in each for each in found), found


def test_a_text_that_looks_like_nothing_is_a_warning(warm: Session) -> None:
    document = warm.document(called(SD, {"negative_prompt": "None"}))
    [found] = warm.engine.check(document)
    assert (found.severity, found.message) == (
        "warning",
        "'negative_prompt' is the text 'None'; without quotes null leaves it out",
    )
