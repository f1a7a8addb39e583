"""The scheduler that a workflow puts in the place of the model's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.session import Json, Session, text_to_image

FLOW = {"scheduler_type": "FlowMatchEulerDiscreteScheduler"}
DDIM = {"scheduler_type": "DDIMScheduler"}


def drawn(session: Session, model: Path, scheduler: Json | None) -> list[str]:
    changes = {} if scheduler is None else {"scheduler": scheduler}
    return session.hashes(text_to_image(model, **changes))


def test_a_string_in_braces_reaches_the_scheduler_without_them(warm: Session, sd15: Path) -> None:
    plain = drawn(warm, sd15, {"configuration": DDIM})
    predicts = {"prediction_type": "{v_prediction}"}
    other = drawn(warm, sd15, {"configuration": DDIM, "from_config_args": predicts})
    assert plain != other != drawn(warm, sd15, None)


def test_the_model_s_own_scheduler_takes_other_settings(warm: Session, sd15: Path) -> None:
    spaced = {"timestep_spacing": "trailing"}
    ddim = drawn(warm, sd15, {"configuration": DDIM, "from_config_args": spaced})
    assert ddim != drawn(warm, sd15, {"configuration": DDIM})


def test_a_shift_changes_the_image_for_this_run_only(warm: Session, flux: Path) -> None:
    def flux_with(scheduler: Json | None) -> list[str]:
        changes: Json = {"configuration": {"component_type": "FluxPipeline"}}
        given = {} if scheduler is None else {"scheduler": scheduler}
        return warm.hashes(text_to_image(flux, **changes, **given))

    static = {"configuration": FLOW, "from_config_args": {"use_dynamic_shifting": False}}
    plain = flux_with(None)
    assert (
        len({*plain, *flux_with({**static, "shift": 1}), *flux_with({**static, "shift": 6})}) == 3
    )
    assert flux_with(None) == plain


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            {"configuration": DDIM, "from_config_args": {"timestep_spacng": "trailing"}},
            "DDIMScheduler has no setting 'timestep_spacng' (did you mean 'timestep_spacing'?)",
        ),
        ({"configuration": DDIM, "shift": 3}, "DDIMScheduler has no shift to set"),
    ],
)
def test_what_a_scheduler_does_not_have_is_told(
    warm: Session, scheduler: Any, message: str
) -> None:
    document = warm.document(text_to_image("any/model", scheduler=scheduler))
    assert [problem.message for problem in warm.engine.check(document)] == [message]


def test_a_pipeline_without_that_scheduler_is_told(warm: Session) -> None:
    document = warm.document(text_to_image("any/model", audio_scheduler={"configuration": DDIM}))
    [problem] = warm.engine.check(document)
    assert problem.message == (
        "StableDiffusionPipeline has no component 'audio_scheduler' (did you mean 'scheduler'?)"
    )


def test_the_shift_of_the_model_s_own_scheduler_is_checked_when_it_is_known(
    session: Session, sd15: Path
) -> None:
    error = session.fail(text_to_image(sd15, scheduler={"shift": 3}))
    assert error.message == "PNDMScheduler has no shift to set"
