"""`watch`: what a change of a file leads to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from dw.events import Event, Failed, Finished, Run
from dw.types import OutputFile
from dw.worker.handle import INTERRUPTED
from tests.console.test_watched_files import tensors
from tests.repl.conftest import FLUX, Shell
from tests.repl.fake import Answer, FakeClient, pressing, succeed


def runs(shell: Shell) -> list[Run]:
    return [command for command in shell.client.commands if isinstance(command, Run)]


def steps(run: Run) -> int:
    value: int = json.loads(run.text)["variables"]["steps"]
    return value


def after(*acts: Callable[[], object], answer: Answer = succeed) -> Answer:
    """A run during which something happens."""

    def answered(client: FakeClient, run: Run) -> Iterator[Event]:
        for act in acts:
            act()
        yield from answer(client, run)

    return answered


def drawing(folder: Path) -> Answer:
    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        client.runs += 1
        own = folder / f"{client.runs:04}"
        own.mkdir(parents=True)
        Image.new("RGB", (64, 64), "red").save(own / "a.png")
        output = OutputFile(str(own / "a.png"), "image/png", 100, "0" * 64, 64, 64)
        yield Finished(run.run_id, "FluxDev", 0.5, 42, (output,), client.memory(), str(own))

    return answer


LEAVE = pressing(INTERRUPTED)
"""A run at which the user ends the watch."""


def set_steps(shell: Shell, count: int) -> Callable[[], None]:
    return lambda: shell.edit(variables=FLUX["variables"] | {"steps": count})


def test_each_change_is_a_run_and_those_in_mid_run_are_one(shell: Shell) -> None:
    shell.client.answers = [
        after(set_steps(shell, 3), set_steps(shell, 4), set_steps(shell, 5)),
        after(set_steps(shell, 6)),
        LEAVE,
    ]
    text = shell.say("load FluxDev", "watch run")
    assert [steps(run) for run in runs(shell)] == [25, 5, 6]
    assert "examples/FluxDev.json: gen.arguments.num_inference_steps 25 → 5" in text
    assert "no model is loaded again" in text
    assert "GPU Memory Status" not in text
    assert len({run.drawn_seed for run in runs(shell)}) == 1


def test_what_is_written_again_as_it_was_is_no_change(shell: Shell) -> None:
    path = shell.folder / "examples" / "FluxDev.json"
    shell.client.answers = [
        after(lambda: path.write_text("// a note\n" + path.read_text())),
        LEAVE,
    ]
    timer = threading.Timer(1.0, set_steps(shell, 9))
    timer.start()
    shell.say("load FluxDev", "watch run")
    assert [steps(run) for run in runs(shell)] == [25, 9]


def test_a_broken_file_and_a_run_that_fails_do_not_end_it(shell: Shell) -> None:
    path = shell.folder / "examples" / "FluxDev.json"
    good = path.read_text()

    def fail(_client: FakeClient, run: Run) -> Iterator[Event]:
        yield Failed(run.run_id, "run", "no memory for it")

    def mend() -> None:
        path.write_text(good.replace("25", "26"))

    def spoil() -> None:
        path.write_text(good.replace('"steps"', '"stpes"'))
        threading.Timer(1.0, mend).start()

    shell.client.answers = [after(spoil, answer=fail), LEAVE]
    text = shell.say("load FluxDev", "watch run")
    assert "error: no memory for it" in text
    assert "stpes" in text
    assert [steps(run) for run in runs(shell)] == [25, 26]


def test_models_and_loras_here_are_followed(shell: Shell) -> None:
    lora = shell.folder / "lora.safetensors"
    lora.write_bytes(tensors(8))
    step = FLUX["steps"][0]
    pipeline = step["pipeline"] | {"loras": [{"model_name": "lora.safetensors"}]}
    shell.edit(steps=[step | {"pipeline": pipeline}])
    shell.client.answers = [after(lambda: lora.write_bytes(tensors(16))), LEAVE]
    text = shell.say("load FluxDev", "watch run")
    assert len(runs(shell)) == 2
    assert "lora.safetensors; loads again: lora.safetensors" in text


def test_each_checkpoint_is_a_run_on_one_growing_strip(shell: Shell) -> None:
    folder, outputs = shell.folder / "checkpoints", shell.folder / "outputs" / "FluxDev"

    def checkpoint(name: str) -> Callable[[], None]:
        def write() -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(tensors(len(name)))

        return write

    checkpoint("a.safetensors")()
    inner = "checkpoint-500/pytorch_lora_weights.safetensors"
    shell.client.answers = [
        after(checkpoint(inner), checkpoint("checkpoint-500/log.txt"), answer=drawing(outputs)),
        after(checkpoint("c.safetensors"), answer=drawing(outputs)),
        LEAVE,
    ]
    text = shell.say("load FluxDev", "watch run model=checkpoints/")
    assert [run.arguments["model"] for run in runs(shell)] == [
        "checkpoints/a.safetensors",
        f"checkpoints/{inner}",
        "checkpoints/c.safetensors",
    ]
    assert "0002  0.5 s  seed 42  checkpoint-500" in text
    assert text.count("outputs/FluxDev/strip-0001.png") == 1
    assert (outputs / "strip-0001.png").is_file()


def test_without_run_a_change_is_told_with_its_cost(shell: Shell) -> None:
    step = FLUX["steps"][0]
    pipeline = step["pipeline"] | {"configuration": {"component_type": "StableDiffusionPipeline"}}
    shell.say("load FluxDev")
    signals = shell.session.monitor.signals
    edit = {"steps": [step | {"pipeline": pipeline}]}

    def leave() -> None:
        give_up = time.monotonic() + 30
        while "loads again" not in shell.out.getvalue() and time.monotonic() < give_up:
            time.sleep(0.02)
        assert signals._wake is not None
        signals._wake()

    threading.Timer(0.3, shell.edit, kwargs=edit).start()
    leaving = threading.Thread(target=leave)
    leaving.start()
    text = shell.say("watch")
    leaving.join()
    assert "gen.configuration.component_type FluxPipeline → StableDiffusionPipeline" in text
    assert "loads again: step gen" in text
    assert text.splitlines()[-1] == "no longer watching"
    assert runs(shell) == []


@pytest.mark.parametrize(
    "line", ["watch rnu", "watch run steps=x", "watch run model=a/ prompt=b/", "watch run stps=1"]
)
def test_what_does_not_fit_is_told_at_once(shell: Shell, line: str) -> None:
    shell.say("load FluxDev")
    assert shell.code(line) == 2
    assert runs(shell) == []
