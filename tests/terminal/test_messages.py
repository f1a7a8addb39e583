from __future__ import annotations

import pytest

from dw.events import (
    CancelRequested,
    Event,
    Executing,
    GraceExpired,
    Loading,
    StopRequested,
)
from dw.terminal.messages import KEYS, EventMessages, reload_cost


def said(*events: Event) -> str:
    messages = EventMessages()
    return [line for event in events for line in messages.lines(event)][-1]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (CancelRequested(1, "user", 10.0, 1.234, 9.04),
         "Cancelling: stops after this step, about 1.2 s; the models are kept."
         " Ctrl-C again kills the worker; reload about 9 s"),
        (CancelRequested(1, "user", 10.0),
         "Cancelling: stops at the next step; the models are kept. Ctrl-C again kills the worker"),
        (CancelRequested(1, "deadline", 10.0, 0.5, 75.4),
         "Out of time: stops after this step, about 0.5 s; the models are kept;"
         " killed after 10 s; reload about 75 s"),
        (CancelRequested(1, "stall", 10.0),
         "No progress for too long: stops at the next step; the models are kept;"
         " killed after 10 s"),
        (GraceExpired(1, 10.0, 9.0),
         "It did not stop within 10 s: killing the worker, whose models are lost;"
         " reload about 9 s"),
        (StopRequested(1, 1.2),
         "Stopping: the denoising ends with this step, about 1.2 s; the image is kept"),
        (StopRequested(1), "Stopping: the denoising ends early; the image is kept"),
    ],
)  # fmt: skip
def test_each_rung_says_what_it_does_and_costs(event: Event, line: str) -> None:
    assert said(event) == line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (CancelRequested(1, "user", 10.0, 1.234, 9.04),
         "Cancelling: stops after this step, about 1.2 s. Ctrl-C again ends it at once"),
        (CancelRequested(1, "deadline", 10.0, 0.5, 75.4),
         "Out of time: stops after this step, about 0.5 s; killed after 10 s"),
        (GraceExpired(1, 10.0, 9.0), "It did not stop within 10 s: killing the worker"),
    ],
)  # fmt: skip
def test_a_program_that_ends_with_its_run_does_not_speak_of_the_next(
    event: Event, line: str
) -> None:
    assert EventMessages(goes_on=False).lines(event) == [line]


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_program_that_is_told_to_end_says_why(goes_on: bool) -> None:
    event = CancelRequested(1, "leaving", 10.0, 1.2, 9.0, cause="the terminal was closed (SIGHUP)")
    assert EventMessages(goes_on=goes_on).lines(event) == [
        "Leaving, because the terminal was closed (SIGHUP): the run stops after this step,"
        " about 1.2 s; killed after 10 s"
    ]


def test_a_cancel_in_a_load_says_where_it_stops() -> None:
    loading = Loading(1, "gen.unet", "UNet2DConditionModel", 2, 5)
    assert said(loading, CancelRequested(1, "user", 10.0)) == (
        "Cancelling: stops in the load of gen.unet (2 of 5), after the tensor that is being read."
        " Ctrl-C again kills the worker"
    )


def test_the_keys_are_told_once_and_only_where_there_are_some() -> None:
    messages = EventMessages(tells_keys=True)
    assert messages.lines(Executing(1, "w")) == ["Executing workflow: w", KEYS]
    assert messages.lines(Executing(1, "w")) == ["Executing workflow: w"]
    assert EventMessages().lines(Executing(1, "w")) == ["Executing workflow: w"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.0, ""), (0.123, "; reload about 0.12 s")]
)
def test_an_unknown_cost_is_not_told(seconds: float | None, text: str) -> None:
    assert reload_cost(seconds) == text
