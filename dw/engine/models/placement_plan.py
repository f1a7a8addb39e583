"""Placement plans: where each component of a pipeline lives, and what is done to it once it is
loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from dw.engine.device import Device, available
from dw.engine.models.context import LoadContext
from dw.engine.models.spec import Offload, Placement, PlacementPlan, PostLoadChange
from dw.engine.python import resolve
from dw.workflow.format.configuration import Configuration
from dw.workflow.format.pipeline import Component, Pipeline
from dw.workflow.format.placement import GroupOffload, LayerwiseCasting, ModuleSettings

DENOISERS = ("transformer", "transformer_2", "unet")
"""What `enable_layerwise_casting` of a whole pipeline casts: in a VAE it would be visible."""

OFFLOADS: tuple[Offload | None, ...] = (None, "model", "sequential")
"""From the fastest to the one that needs the least memory on the device."""

ON_THE_HOST = Placement("cpu")


def placement_plan(pipeline: Pipeline, context: LoadContext) -> PlacementPlan:
    """Raises RunFailed for a folder that the workflow may not write to, UsageError for a device
    that is not here."""
    return _PlanBuilder(pipeline, context).plan()


@dataclass(frozen=True)
class _PlanBuilder:
    pipeline: Pipeline
    context: LoadContext

    def plan(self) -> PlacementPlan:
        default, own = self._default, self._own
        if default.offload in ("model", "sequential"):
            for name in sorted(own):
                self.context.warn(
                    f"offload {default.offload!r} decides where all components live: "
                    f"what the workflow says of {name!r} has no effect"
                )
            own = {}
        kept = dict.fromkeys(self._kept_on_the_device, Placement(self._device.spec))
        return PlacementPlan(default, {**own, **kept}, self._changes)

    @cached_property
    def _device(self) -> Device:
        mapped = self._device_map
        is_named = mapped in ("cpu", "cuda")
        device = self.context.device_for(
            self._configuration.device or (str(mapped) if is_named else None)
        )
        if mapped == "balanced" and len(available()) > len({device.spec, "cpu"}):
            self.context.warn(
                f"device_map 'balanced' puts all on {device.spec}: 'components' in the "
                "configuration gives each its device"
            )
        return device

    @cached_property
    def _default(self) -> Placement:
        """Of the components without a placement of their own: the first rule that applies."""
        device, grouping = self._device, self.pipeline.grouping
        if grouping is not None:
            return self._grouped(grouping, device) or Placement(device.spec)
        if (offload := self._offload) is not None:
            return Placement(device.spec, offload)
        if any(entry.is_moved for entry in self._configuration.components.values()):
            # If some are placed by hand, the others stay in host memory.
            return self._on_demand(device)
        is_mapped = self._device_map not in (None, "balanced", "cuda")  # by its loader
        stays = self._configuration.stays or is_mapped
        return ON_THE_HOST if stays else Placement(device.spec)

    @property
    def _device_map(self) -> Any:
        return self.pipeline.from_pretrained_arguments.get("device_map")

    @property
    def _offload(self) -> Offload | None:
        wanted, least = self._configuration.offload, self.context.offload
        manager = self._configuration.components_manager
        if manager is not None and manager.enable_auto_cpu_offload:
            wanted = wanted or "model"
        if self._device.kind == "cpu":
            if wanted is not None:
                self._means_nothing(f"offload {wanted!r}")
            return None
        is_on_gpu = self._device.kind == "cuda" and not self._own
        return max([wanted, least if is_on_gpu else None], key=OFFLOADS.index)

    @cached_property
    def _own(self) -> dict[str, Placement]:
        found = {name: self._override(component) for name, component in self._overrides}
        entries = self._configuration.components.items()
        found |= {name: self._entry(entry) for name, entry in entries if "." not in name}
        return {name: placement for name, placement in found.items() if placement is not None}

    @property
    def _overrides(self) -> Iterator[tuple[str, Component]]:
        yield from self.pipeline.components.items()

    def _override(self, component: Component) -> Placement | None:
        configuration = component.configuration
        device = self.context.device_for(configuration.device or self._configuration.device)
        if component.grouping is not None:
            return self._grouped(component.grouping, device)
        if component.from_pretrained_arguments.get("device_map") is not None:
            return ON_THE_HOST  # or wherever its loader puts it
        if configuration.device is None or configuration.stays:
            return None
        return Placement(device.spec)

    def _entry(self, entry: ModuleSettings) -> Placement | None:
        device = self.context.device_for(entry.device or self._configuration.device)
        if entry.group_offload is not None:
            return self._grouped(entry.group_offload, device)
        if entry.residency == "on_demand":
            return self._on_demand(device)
        return None if entry.device is None else Placement(device.spec)

    def _on_demand(self, device: Device) -> Placement:
        return Placement(device.spec, None if device.kind == "cpu" else "on_demand")

    def _grouped(self, grouping: GroupOffload, device: Device) -> Placement | None:
        """None where group offloading has no effect."""
        if grouping.onload_device is not None:
            device = self.context.device_for(grouping.onload_device)
        if device.kind == "cpu":
            self._means_nothing("group_offload")
            return None
        options = grouping.model_dump(
            exclude_none=True, exclude={"onload_device", "exclude_modules"}
        )
        if (folder := grouping.offload_to_disk_path) is not None:
            options["offload_to_disk_path"] = str(self.context.access.path(folder))
        return Placement(device.spec, "group", _json(options))

    @property
    def _kept_on_the_device(self) -> tuple[str, ...]:
        """Components that stay on the device when all others are offloaded."""
        if self._default.offload == "sequential":
            return self._configuration.exclude_from_cpu_offload
        grouping = self.pipeline.group_offload or self._configuration.group_offload
        is_grouped = grouping is not None and self._default.offload == "group"
        return grouping.exclude_modules if grouping is not None and is_grouped else ()

    @property
    def _changes(self) -> dict[str, tuple[PostLoadChange, ...]]:
        found: dict[str, list[PostLoadChange]] = {}
        for name, path, change in self._in_order():
            found.setdefault(name, []).append(
                replace(change, path=path, is_optional=self.context.rehearse)
            )
        return {name: tuple(changes) for name, changes in found.items()}

    def _in_order(self) -> Iterator[tuple[str, str, PostLoadChange]]:
        """Component, path in it, and the change there."""
        entries = [
            (*name.partition(".")[::2], entry)
            for name, entry in self._configuration.components.items()
        ]
        for name, path, entry in entries:
            yield from ((name, path, change) for change in self._cuts(entry))
        for name, casting in self._castings():
            yield name, "", casting
        for name, path, entry in entries:
            if path and (placement := self._entry(entry)) is not None:
                yield name, path, PostLoadChange("place", options=_json(asdict(placement)))
        for name in self._optimized():
            yield name, "", PostLoadChange("sdnq_optimize")
        for name, path, entry in entries:
            yield from ((name, path, change) for change in self._compiled(name, entry))

    def _cuts(self, entry: ModuleSettings) -> Iterator[PostLoadChange]:
        for module, keep in entry.truncate_layers.items():
            yield PostLoadChange("truncate_layers", options=_json({"layers": module, "keep": keep}))
        for module in entry.remove_modules:
            yield PostLoadChange("remove_module", options=_json({"removed": module}))

    def _castings(self) -> Iterator[tuple[str, PostLoadChange]]:
        castings: dict[str, LayerwiseCasting | None] = dict.fromkeys(
            DENOISERS, self.pipeline.casting
        )
        for name, component in self._overrides:
            castings[name] = component.casting or castings.get(name)
        for name, casting in castings.items():
            if casting is not None:
                values = casting.model_dump(exclude_none=True)
                names = [key for key in values if key.endswith("_dtype")]
                values |= {key: str(resolve.dtype(values[key])) for key in names}
                yield name, PostLoadChange("cast_layerwise", options=_json(values))

    def _optimized(self) -> tuple[str, ...]:
        wanted = self._configuration.sdnq_optimize
        if wanted and self._device.kind == "cpu":
            self._means_nothing("sdnq_optimize")
            return ()
        return wanted

    def _compiled(self, name: str, entry: ModuleSettings) -> Iterator[PostLoadChange]:
        if entry.compile is None:
            return
        if self.context.rehearse:
            self.context.warn(f"{name!r} is rehearsed without being compiled")
        else:
            yield PostLoadChange(
                "compile", options=_json(entry.compile.model_dump(exclude_none=True))
            )

    def _means_nothing(self, what: str) -> None:
        self.context.warn(f"{what} means nothing on the CPU: the models stay there")

    @property
    def _configuration(self) -> Configuration:
        return self.pipeline.configuration


def _json(values: Mapping[str, Any]) -> str:
    """Equal values give equal texts."""
    return json.dumps(dict(values), sort_keys=True)
