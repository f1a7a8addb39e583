"""The wire, message by message: a change of it has to be meant, and raises VERSION if it breaks.

`python -m tests.test_events` writes the golden file anew.
"""

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dw import events
from dw.codec import from_bytes, from_json, to_bytes, to_json
from dw.events import COMMANDS, EVENTS, VERSION
from dw.types import ComponentRow, Diagnostic, FileState, Memory, OutputFile, Permissions, Spoiled

GOLDEN = Path(__file__).parent / "golden" / "events.json"

ROW = ComponentRow("gen.unet", "UNet2DConditionModel", "float16", "cuda:0", 1719, 1.5)
MEMORY = Memory("NVIDIA H100", 100, 200, 300, 400, 2, (ROW,))
OUTPUT = OutputFile("/out/1.png", "image/png", 1234, "ab" * 32, 64, 48)
PROBLEM = Diagnostic("w.json", 3, 7, "unknown key 'ofload'")

EXAMPLES = [
    events.Run(
        1,
        "w.json",
        "{}",
        {"steps": 4, "sizes": [64, 0.5], "image": {"location": "a.png"}, "mask": None},
        "/out",
        seed=7,
        drawn_seed=11,
        device="cuda",
        rehearse=True,
        permissions=Permissions(allowed_dirs=(Path("/images"),)),
        preview_s=1.0,
        partial_images=2,
    ),
    events.Prepare(2, "w.json", "{}"),
    events.Check(3, "w.json", "{}"),
    events.Cancel(1, "not done after 300 s (timeout)"),
    events.Stop(1),
    events.Report(4),
    events.Clear(5),
    events.Shutdown(6),
    events.Ready(VERSION, 77, 4.5),
    events.Heartbeat(760 << 20),
    events.Started(1, "w", 7, "/out/w/0001"),
    events.Planned(1, "changed", ("gen.unet",), ("gen.vae",), ("gen.vae",)),
    events.Loading(1, "gen.vae", "AutoencoderKL", 1, 1),
    events.Mapped(1, (FileState(Path("/m/vae.safetensors"), (8, 131, 512, 10**18 + 1, 2**63)),)),
    events.Loaded(1, "w", 3.25),
    events.Executing(1, "w"),
    events.StepStarted(1, "gen", 1, 2),
    events.Stepped(1, "gen", "denoise", 14, 30),
    events.Preview(1, "gen", 14, 30, 128, 96, "iVBORw0KGgo=", frame=10, frames=21),
    events.Produced(1, "gen", OUTPUT),
    events.Warned(1, "step 'up' did nothing"),
    events.NotFinite(1, "gen", Spoiled("the latents", "unet", 3, 20, (2,), 4), is_allowed=True),
    events.Launching(1),
    events.Launched(1, 77, True),
    events.LogLine(1, "a line"),
    events.CancelRequested(1, "user", 10.0, 1.2, 9.0),
    events.StopRequested(1, 1.2),
    events.GraceExpired(1, 10.0, 9.0),
    events.Finished(1, "w", 2.5, 7, (OUTPUT,), MEMORY, "/out/w/0001"),
    events.RunCancelled(1, 14, 30),
    events.Failed(1, "workflow", "no", "step 'gen'", ("try",), "Traceback", (PROBLEM,)),
    events.Prepared(2),
    events.Checked(3, (PROBLEM,)),
    events.Reported(4, MEMORY),
    events.Cleared(5, 100, MEMORY, ("gen.unet: list",)),
    events.Exited(6),
    events.Died(
        1,
        "killed",
        "it did not stop within 10 s of being asked",
        77,
        "gen: denoise step 14/30",
        "Current thread 0x1 (most recent call first):",
        ("last words",),
        "gen: denoise step 14/30, in attention",
    ),
    events.RunTimedOut(1, "deadline", 300.0, False, "gen: denoise step 14/30", "stack", "in it"),
]


def at(message, time_s=1.5):
    """A message; an event as if it was made at that time."""
    return replace(message, time=time_s) if isinstance(message, EVENTS) else message


def written():
    return [json.loads(to_bytes(at(example))) for example in EXAMPLES]


def test_every_message_is_what_it_was():
    assert written() == json.loads(GOLDEN.read_text())


def test_every_message_has_its_example():
    assert {type(example) for example in EXAMPLES} == {*COMMANDS, *EVENTS}


@pytest.mark.parametrize("message", [*COMMANDS, *EVENTS], ids=lambda each: each.__name__)
def test_every_message_names_its_run_and_cannot_be_changed(message):
    assert "run_id" in message.__slots__
    assert message.__dataclass_params__.frozen


def test_an_event_has_the_time_at_which_it_was_made():
    before = time.time() - 0.001
    event = events.Executing(1, "w")
    assert before <= event.time <= time.time() + 0.001
    assert event.time == round(event.time, 3)


def test_equal_events_may_have_different_times():
    assert at(events.Exited(1), 1.0) == at(events.Exited(1), 2.0)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda each: type(each).__name__)
def test_every_message_comes_back_from_json(message):
    for copy in (from_json(to_json(message)), from_bytes(to_bytes(message))):
        assert (type(copy), copy, to_json(copy)) == (type(message), message, to_json(message))


def test_a_string_that_has_no_utf8_crosses_a_pipe():
    line = events.LogLine(1, "half of a pair: \ud83d")
    assert from_bytes(to_bytes(line)) == line


STEPPED = to_json(at(events.Stepped(1, "gen", "denoise", 14, 30)))
FINISHED = to_json(at(events.Finished(1, "w", 2.5, 7, (OUTPUT,), MEMORY, "/out")))
OUTPUT_WITHOUT_SIZE = {"path": "a", "content_type": "b", "sha256": "c"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (["Stepped"], "a message is a JSON object, not a list"),
        (None, "a message is a JSON object, not a NoneType"),
        ({}, "unknown message None"),
        ({"event": "Sinned"}, "unknown message 'Sinned'"),
        ({"event": "LogLine", "run_id": 1, "text": ""}, "unknown message 'LogLine'"),
        ({"event": ["Stepped"]}, r"unknown message \['Stepped'\]"),
        ({**STEPPED, "done": "many"}, "Stepped.done: Input should be a valid integer"),
        ({**STEPPED, "done": None}, "Stepped.done: Input should be a valid integer"),
        ({**STEPPED, "speed": 1}, "Stepped.speed: Unexpected keyword argument"),
        ({**STEPPED, "time": float("nan")}, "Stepped.time: Input should be a finite number"),
        ({"event": "Stepped", "run_id": 1}, "Stepped.name: Field required"),
        ({**FINISHED, "outputs": [OUTPUT_WITHOUT_SIZE]}, "Finished.outputs.0.nbytes: Field"),
        ({**FINISHED, "outputs": {}}, "Finished.outputs: Input should be a valid tuple"),
        ({**to_json(events.Planned(1, "first", (), (), ())), "reason": "why"}, "Planned.reason"),
    ],
)
def test_what_is_not_a_message_is_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        from_json(fields)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"done", "Expecting value"),
        (b'"done"', "a message is a JSON object, not a str"),
        (b"\xff\xfe\xfd", "decode"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"event": "Loaded", "run_id": 1, "workflow": "w", "seconds": NaN}', "NaN is not JSON"),
        (b'{"event": "Loaded", "run_id": 1, "workflow": "w", "seconds": 1e999}', "finite number"),
        (pickle.dumps(events.Cancel(1)), "decode|Expecting value"),
    ],
)
def test_bytes_that_are_not_a_message_are_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        from_bytes(data)


def test_a_value_that_has_no_json_is_not_sent():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_bytes(events.Loaded(1, "w", float("nan")))
    with pytest.raises(TypeError, match="not JSON serializable"):
        to_bytes(events.Run(1, "w", "{}", {"image": object()}, "/out"))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(written(), indent=1) + "\n")
