"""The wire, message by message: a change of it has to be meant, and raises VERSION if it breaks.

`python -m tests.worker.test_protocol` writes the golden file anew.
"""

import json
from pathlib import Path

import pytest

from dw.report import ComponentRow, Memory, Output, Problem
from dw.worker import protocol
from dw.worker.protocol import COMMANDS, EVENTS, VERSION, to_json

GOLDEN = Path(__file__).parent / "golden" / "protocol.json"

ROW = ComponentRow("gen.unet", "UNet2DConditionModel", "float16", "cuda:0", 1719, 1.5)
MEMORY = Memory("NVIDIA H100", 100, 200, 300, 400, 2, (ROW,))
OUTPUT = Output("/out/1.png", "image/png", 1234, "ab" * 32, 64, 48)
PROBLEM = Problem("w.json", 3, 7, "unknown key 'ofload'")

EXAMPLES = [
    protocol.Run(1, "w.json", "{}", {"steps": 4}, "/out", seed=7, device="cuda", rehearse=True),
    protocol.Prepare(2, "w.json", "{}"),
    protocol.Check(3, "w.json", "{}"),
    protocol.Cancel(1, "not done after 300 s (timeout)"),
    protocol.Stop(1),
    protocol.Report(4),
    protocol.Clear(5),
    protocol.Quit(6),
    protocol.Greeted(VERSION, 77, 4.5),
    protocol.Beat(760 << 20),
    protocol.Started(1, "w", 7, "/out/w/0001"),
    protocol.Planned(1, "changed", ("gen.unet",), ("gen.vae",), ("gen.vae",)),
    protocol.Loading(1, "gen.vae", "AutoencoderKL", 1, 1),
    protocol.Loaded(1, "w", 3.25),
    protocol.Executing(1, "w"),
    protocol.StepStarted(1, "gen", 1, 2),
    protocol.Stepped(1, "gen", "denoise", 14, 30),
    protocol.Produced(1, "gen", OUTPUT),
    protocol.Warned(1, "step 'up' did nothing"),
    protocol.Launching(1),
    protocol.Launched(1, 77, True),
    protocol.Said(1, "a line"),
    protocol.CancelRequested(1, "user", 10.0, 1.2, 9.0),
    protocol.StopRequested(1, 1.2),
    protocol.GraceExpired(1, 10.0, 9.0),
    protocol.Finished(1, "w", 2.5, 7, (OUTPUT,), MEMORY, "/out/w/0001"),
    protocol.Cancelled(1, 14, 30),
    protocol.Failed(1, "workflow", "no", "step 'gen'", ("try",), "Traceback", (PROBLEM,)),
    protocol.Prepared(2),
    protocol.Checked(3, (PROBLEM,)),
    protocol.Reported(4, MEMORY),
    protocol.Cleared(5, 100, MEMORY, ("gen.unet: list",)),
    protocol.Departed(6),
    protocol.Died(
        1,
        "killed",
        "it did not stop within 10 s of being asked",
        77,
        "gen: denoise step 14/30",
        "Current thread 0x1 (most recent call first):",
        ("last words",),
        "gen: denoise step 14/30, in attention",
    ),
    protocol.TimedOut(1, "deadline", 300.0, False, "gen: denoise step 14/30", "stack", "in it"),
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
