"""What the tests of the engine say: small workflows, and a session that runs them and remembers."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dw.engine import Cancelled, Engine, RunControl, RunResult
from dw.engine.device import Cpu
from dw.errors import DwError
from dw.events import Event, Planned, Run, Warned
from dw.rehearsal import store
from dw.types import Permissions
from dw.workflow import Document, parse_document

Json = dict[str, Any]
E = TypeVar("E", bound=Event)


@dataclass(frozen=True)
class Gpu(Cpu):
    """The CPU, as a device that models are offloaded from: accelerate's hooks work on it, too."""

    kind = "cuda"


def on_a_gpu(session: Session) -> Session:
    gpu = Gpu("cpu", "for the test", session.engine._live_models.live_bytes)
    session.engine._find_device = lambda _: gpu  # type: ignore[method-assign]
    return session


class CancelsAt(RunControl):
    """A control that is cancelled when the pipeline has done this many steps."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._at = step

    def stepped(self, step: int, steps: int) -> None:
        super().stepped(step, steps)
        if steps and step == self._at:
            self.cancel()


class CancelsAtLook(RunControl):
    """A control that is cancelled when the run has looked at it this many times."""

    def __init__(self, look: int | None = None) -> None:
        super().__init__()
        self.looks = 0
        self._at = look

    def check(self) -> None:
        self.looks += 1
        if self.looks == self._at:
            self.cancel()
        super().check()


TRUSTED = Permissions(trust=True)


class Session:
    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.allowed: tuple[Path, ...] = (store.cache_dir(),)
        self.events: list[Event] = []  # of the last run

    def document(
        self, workflow: Json, name: str = "workflow.json", *, trust: bool = False
    ) -> Document:
        """The document, which may name the stand-ins' folders."""
        permissions = Permissions(trust, self.allowed)
        text = json.dumps(workflow, indent=1)
        return parse_document(text, self.folder / name, permissions=permissions)

    def run(
        self,
        workflow: Json | Document,
        *,
        seed: int | None = 7,
        drawn_seed: int = 0,
        device: str | None = "cpu",
        rehearse: bool = False,
        trust: bool = False,
        are_typed: bool = True,
        control: RunControl | None = None,
        preview_s: float | None = None,
        partial_images: int = 0,
        **arguments: Any,
    ) -> RunResult:
        self.events = []
        is_document = isinstance(workflow, Document)
        document = workflow if is_document else self.document(workflow, trust=trust)
        request = Run(
            0,
            str(document.path),
            document.text,
            arguments,
            str(self.folder / "outputs"),
            seed=seed,
            drawn_seed=drawn_seed,
            device=device,
            rehearse=rehearse,
            are_typed=are_typed,
            preview_s=preview_s,
            partial_images=partial_images,
        )
        return self.engine.run(document, request, control=control or RunControl(), emit=self.emit)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def seen(self, kind: type[E]) -> list[E]:
        """The events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.seen(Warned)]

    def hashes(self, workflow: Json | Document, **options: Any) -> list[str]:
        """The sha256 of every file that a run writes."""
        return [output.sha256 for output in self.run(workflow, **options).outputs]

    def cancel(self, workflow: Json | Document, control: RunControl, **options: Any) -> Cancelled:
        """Run, expect that `control` is cancelled meanwhile, and recover, as the worker does."""
        try:
            self.run(workflow, control=control, **options)
        except Cancelled as cancelled:
            stopped = cancelled.with_traceback(None)
        else:
            raise AssertionError("the run was not cancelled")
        self.engine.recover()
        return stopped

    def fail(self, workflow: Json, **options: Any) -> DwError:
        """Run, expect an error, and recover, as the worker does."""
        try:
            self.run(workflow, **options)
        except DwError as error:
            failure = error.with_traceback(None)
        else:
            raise AssertionError("the run did not fail")
        self.engine.recover()
        return failure

    @property
    def reason(self) -> str:
        return self.seen(Planned)[0].reason

    @property
    def loaded(self) -> tuple[str, ...]:
        """The components that the last run planned to load."""
        return self.seen(Planned)[0].loading

    @property
    def dropped(self) -> tuple[str, ...]:
        return self.seen(Planned)[0].dropped


def generate(model: Path | str, **changes: Any) -> Json:
    """A step that draws an image of 64x64 in 4 steps. `changes` go into its pipeline: a dict is
    merged with what is there."""
    pipeline: Json = {
        "configuration": {"component_type": "StableDiffusionPipeline"},
        "from_pretrained_arguments": {"model_name": str(model)},
        "arguments": {"prompt": "a cat", "num_inference_steps": 4, "width": 64, "height": 64},
    }
    return {"name": "gen", "pipeline": merged(pipeline, changes), "result": PNG}


def workflow(*steps: Json, **top: Any) -> Json:
    return {"id": "demo", **top, "steps": list(steps)}


def text_to_image(model: Path | str, **changes: Any) -> Json:
    return workflow(generate(model, **changes))


def merged(data: Json, changes: Json) -> Json:
    result = copy.deepcopy(data)
    for key, value in changes.items():
        is_dict = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if is_dict else value
    return result


PNG: Json = {"content_type": "image/png"}
