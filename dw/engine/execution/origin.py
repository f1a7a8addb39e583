"""Origin: what a result file tells of the run that made it.

The same run tells the same, so that its files have the same bytes: no time, no number, no folder.
Nothing that came from the environment is in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

import dw
from dw.engine.execution.run import RunState
from dw.engine.execution.run_record import VERSIONS
from dw.engine.media.file_origin import FileOrigin
from dw.redaction import Secrets, redacted, redacted_arguments
from dw.run_folders import digest
from dw.workflow import Document
from dw.workflow.builtin import FOLDER, PREFIX
from dw.workflow.format.model import Step
from dw.workflow.format.pipeline import Pipeline

_SETTINGS = {
    "Steps": "num_inference_steps",
    "Sampler": "Sampler",
    "CFG scale": "guidance_scale",
    "Seed": "Seed",
    "Size": "Size",
    "Model hash": "Model hash",
    "Model": "Model",
    "Denoising strength": "strength",
}
"""Of a line of AUTOMATIC1111, in its order, and the arguments of pipelines that some of them
are."""

_DENOISERS = ("unet", "transformer")


def origin_of_run(
    document: Document, arguments: Mapping[str, Any], seed: int, secrets: Secrets
) -> dict[str, Any]:
    """What all files of a run tell. `arguments`: what the user gave."""
    folder = os.path.abspath(document.path.parent)
    return {
        "dw": dw.__version__,
        "id": document.id,
        "workflow_sha256": digest(document.text),
        "workflow": redacted(document.text, secrets),
        "sub_workflows": {
            _relative(path, folder): redacted(text, secrets)
            for path, text in document.texts().items()
        },
        "arguments": redacted_arguments(arguments, secrets),
        "seed": seed,
        "versions": VERSIONS,
    }


def _relative(path: str, folder: str) -> str:
    if os.path.dirname(path) == str(FOLDER):
        return f"{PREFIX}{os.path.basename(path)}"
    return os.path.relpath(path, folder)


@dataclass(frozen=True, slots=True)
class MadeBy:
    """What made a result: a step, with the arguments of this call, and the pipeline where it has
    one."""

    run: RunState
    step: Step
    pipeline: Pipeline | None
    seed: int
    arguments: Any

    def metadata(self) -> dict[str, Any]:
        """What a workflow asks for by `embed_metadata`."""
        made_by: dict[str, Any] = {}
        if self.pipeline is not None:
            made_by = {"seed": self.seed}
            if source := self.pipeline.from_pretrained_arguments.get("model_name"):
                made_by["model_name"] = source
        elif self.step.task is not None:
            made_by = {"command": self.step.task.command}
        given = redacted_arguments(self.arguments, self.run.context.secrets)
        return {"step": self.step.name, **made_by, "arguments": given}

    def origin(self, value: Any) -> Callable[[], FileOrigin] | None:
        """What the file of a result tells; the call reads the models' files. None: nothing."""
        if (of_run := self.run.context.origin) is None:
            return None
        name, fingerprints = self.run.step, self.run.fingerprints()
        told = self._told(value) if self.pipeline is not None else {}

        def tell() -> FileOrigin:
            contents = {label: each.content() for label, each in fingerprints.items()}
            hashes = (contents.get(f"{name}.{part}") for part in _DENOISERS)
            known = {**told, "Model hash": (next(filter(None, hashes), None) or "")[:10]}
            parameters = _parameters(known) if isinstance(told.get("prompt"), str) else None
            return FileOrigin({**of_run, "step": name, "models": contents}, parameters)

        return tell

    def _told(self, value: Any) -> dict[str, Any]:
        assert self.pipeline is not None
        secrets = self.run.context.secrets
        scheduler = getattr(self.run.pipeline, "scheduler", None)
        model = self.pipeline.from_pretrained_arguments.get("model_name")
        return {
            **redacted_arguments(self.arguments, secrets),
            "Seed": self.seed,
            "Model": redacted(model, secrets),
            "Sampler": None if scheduler is None else type(scheduler).__name__,
            "Size": f"{value.width}x{value.height}" if isinstance(value, Image.Image) else None,
        }


def _parameters(told: Mapping[str, Any]) -> str:
    """The text `parameters` of AUTOMATIC1111 (modules/infotext_utils.py): the prompt, the negative
    one, and a line of settings, in which a text that has commas or colons is quoted."""
    lines = [told["prompt"]]
    if isinstance(negative := told.get("negative_prompt"), str) and negative:
        lines.append(f"Negative prompt: {negative}")
    parts = [
        f"{name}: {_quoted(value)}"
        for name, source in _SETTINGS.items()
        if isinstance(value := told.get(source), str | int | float) and value != ""
    ]
    return "\n".join([*lines, ", ".join([*parts, f"Version: dw {dw.__version__}"])])


def _quoted(value: Any) -> str:
    text = str(value)
    is_plain = not any(sign in text for sign in ',\n:"')
    return text if is_plain else json.dumps(text, ensure_ascii=False)
