"""Load context: what every load spec of a run is made with. The planner and the makers of its parts
share it, so that none of them needs the planner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dw.engine.device import Device
from dw.engine.files.access import FileAccess
from dw.engine.models.source import Sources
from dw.engine.models.spec import Offload
from dw.errors import UsageError
from dw.rehearsal import stand_in
from dw.workflow.format.pipeline import Pipeline


@dataclass(frozen=True)
class LoadContext:
    """On one device, for files beside one workflow."""

    sources: Sources
    access: FileAccess
    device: Device  # of the run
    find_device: Callable[[str], Device]  # of a name in the workflow
    warn: Callable[[str], None]
    rehearse: bool = False
    offload: Offload | None = None  # of every pipeline on a GPU that has none, or less

    @property
    def trust(self) -> bool:
        return self.access.permissions.trust

    def beside(self, folder: Path) -> LoadContext:
        """The context of a workflow that lies in `folder`."""
        return replace(self, access=replace(self.access, folder=folder))

    def of_pipeline(self, pipeline: Pipeline) -> LoadContext:
        """The context of one pipeline: a built-in model is small and runs as it is in a
        rehearsal."""
        return replace(self, rehearse=self.needs_stand_in(pipeline))

    def needs_stand_in(self, pipeline: Pipeline) -> bool:
        return self.rehearse and not pipeline.is_builtin

    def device_for(self, name: str | None) -> Device:
        """The device that the workflow names, or the run's. A rehearsal runs on the run's device
        where the named one is missing. Raises UsageError where it is missing for a run."""
        if name is None:
            return self.device
        try:
            return self.find_device(name)
        except UsageError as error:
            if not self.rehearse:
                raise
            self.warn(f"{error.message}; rehearsing on {self.device.spec}")
            return self.device


def stand_in_folder(pipeline: Pipeline) -> Path:
    """The folder of the tiny pipeline that a rehearsal runs on."""
    arguments = pipeline.from_pretrained_arguments
    name = arguments.get("model_name") or arguments.get("from_single_file") or ""
    return stand_in(pipeline.configuration.component_type, str(name))
