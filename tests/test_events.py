"""The wire, message by message: a change of it has to be meant, and raises VERSION if it breaks.

`python -m tests.test_events` writes the golden file anew.
"""

import json
from pathlib import Path

import pytest

from dw import events
from dw.events import COMMANDS, EVENTS, VERSION, to_json
from dw.types import ComponentRow, Diagnostic, Memory, OutputFile

GOLDEN = Path(__file__).parent / "golden" / "events.json"

ROW = ComponentRow("gen.unet", "UNet2DConditionModel", "float16", "cuda:0", 1719, 1.5)
MEMORY = Memory("NVIDIA H100", 100, 200, 300, 400, 2, (ROW,))
OUTPUT = OutputFile("/out/1.png", "image/png", 1234, "ab" * 32, 64, 48)
PROBLEM = Diagnostic("w.json", 3, 7, "unknown key 'ofload'")

EXAMPLES = [
    events.Run(1, "w.json", "{}", {"steps": 4}, "/out", seed=7, device="cuda", rehearse=True),
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
    events.Loaded(1, "w", 3.25),
    events.Executing(1, "w"),
    events.StepStarted(1, "gen", 1, 2),
    events.Stepped(1, "gen", "denoise", 14, 30),
    events.Produced(1, "gen", OUTPUT),
    events.Warned(1, "step 'up' did nothing"),
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


def written():
    return json.loads(json.dumps([to_json(example) for example in EXAMPLES]))


def test_every_message_is_what_it_was():
    assert written() == json.loads(GOLDEN.read_text())


def test_every_message_has_its_example():
    assert {type(example) for example in EXAMPLES} == {*COMMANDS, *EVENTS}


@pytest.mark.parametrize("message", [*COMMANDS, *EVENTS], ids=lambda each: each.__name__)
def test_every_message_names_its_run_and_cannot_be_changed(message):
    assert "run_id" in message.__slots__
    assert message.__dataclass_params__.frozen


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(written(), indent=1) + "\n")
