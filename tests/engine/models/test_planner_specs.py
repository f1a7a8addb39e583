"""The specs that a planner makes, without loading anything."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dw.engine.device import Cpu, Device
from dw.engine.files.access import FileAccess
from dw.engine.models.context import LoadContext
from dw.engine.models.planner import Planner
from dw.engine.models.source import Sources
from dw.engine.models.spec import ComponentSpec, PipelineSpec, Placement, SchedulerSpec
from dw.engine.models.task_models import TaskModels
from dw.engine.tasks import models_of
from dw.errors import RunFailed, UsageError, WorkflowError
from dw.types import Permissions
from dw.workflow.format.model import Task
from dw.workflow.format.pipeline import Pipeline

TRUSTED, ALONE = Permissions(trust=True), Permissions()


@dataclass(frozen=True)
class Gpu(Cpu):
    kind = "cuda"


CPU = Cpu("cpu", "for the test", lambda: 0)
GPU = Gpu("cuda:0", "for the test", lambda: 0)


class Plans:
    """A planner and the warnings that it gave."""

    def __init__(
        self,
        folder: Path,
        device: Device = CPU,
        permissions: Permissions = TRUSTED,
        **context: Any,
    ) -> None:
        self.warnings: list[str] = []
        self.planner = Planner(
            LoadContext(
                sources=Sources(downloads=False),
                access=FileAccess(folder, permissions=permissions),
                device=device,
                find_device=self.find,
                warn=self.warnings.append,
                **context,
            )
        )

    @staticmethod
    def find(name: str) -> Device:
        if name.startswith("cuda:9"):
            raise UsageError(f"there is no {name}")
        return GPU if name.startswith("cuda") else CPU


def pipeline(model: Path, **more: Any) -> Pipeline:
    configuration = {"component_type": "StableDiffusionPipeline", **more.pop("configuration", {})}
    data = {
        "configuration": configuration,
        "from_pretrained_arguments": {"model_name": str(model)},
        "arguments": {},
        **more,
    }
    return Pipeline.model_validate(data)


DEPTH = Task.model_validate({"command": "depth", "arguments": {"image": "a.png"}})


def depth(model: Path, **more: Any) -> Any:
    return models_of("depth", {"model_name": str(model), **more})


def test_each_pipeline_has_one_spec(tmp_path: Path, sd15: Path) -> None:
    planner, one = Plans(tmp_path).planner, pipeline(sd15)
    spec = planner.pipeline(one)
    assert planner.pipeline(one) is spec
    assert planner.beside(tmp_path / "inner").pipeline(one) is spec
    other = planner.pipeline(pipeline(sd15))
    assert other is not spec
    assert other == spec
    assert set(spec.components) >= {"unet", "vae", "text_encoder", "tokenizer"}


def test_a_planner_beside_another_folder_looks_there(tmp_path: Path) -> None:
    planner = Plans(tmp_path).planner
    inner = planner.beside(tmp_path / "inner")
    assert inner.context.access.folder == tmp_path / "inner"
    assert planner.context.access.folder == tmp_path


class TestCheaper:
    """What puts less on the GPU."""

    @pytest.mark.parametrize(
        ("offload", "next_"), [(None, "model"), ("model", "sequential"), ("sequential", None)]
    )
    def test_it_is_the_next_offload(
        self, tmp_path: Path, sd15: Path, offload: Any, next_: str | None
    ) -> None:
        planner = Plans(tmp_path, GPU, offload=offload).planner
        planner.pipeline(pipeline(sd15))
        cheaper = planner.cheaper()
        assert (cheaper and cheaper.context.offload) == next_
        assert planner.context.offload == offload

    def test_it_makes_its_own_specs(self, tmp_path: Path, sd15: Path) -> None:
        planner, one = Plans(tmp_path, GPU).planner, pipeline(sd15)
        spec, cheaper = planner.pipeline(one), planner.cheaper()
        assert cheaper is not None
        assert spec.placement == Placement("cuda:0")
        assert cheaper.pipeline(one).placement == Placement("cuda:0", "model")

    def test_the_pipeline_with_the_most_on_the_gpu_decides(
        self, tmp_path: Path, sd15: Path
    ) -> None:
        planner = Plans(tmp_path, GPU).planner
        planner.pipeline(pipeline(sd15, configuration={"offload": "sequential"}))
        assert planner.cheaper() is None
        planner.pipeline(pipeline(sd15, configuration={"offload": "model"}))
        cheaper = planner.cheaper()
        assert cheaper is not None
        assert cheaper.context.offload == "sequential"

    def test_a_cpu_has_nothing_cheaper(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path, CPU).planner
        planner.pipeline(pipeline(sd15))
        assert planner.cheaper() is None

    def test_another_device_does_not_count(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path, GPU).planner
        planner.pipeline(pipeline(sd15, configuration={"device": "cpu"}))
        assert planner.cheaper() is None

    def test_what_the_workflow_places_by_hand_stays(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path, GPU).planner
        own = {"components": {"vae": {"device": "cpu"}}}
        planner.pipeline(pipeline(sd15, configuration=own))
        assert planner.cheaper() is None

    def test_models_of_tasks_count(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path, GPU, rehearse=True).planner
        assert planner.cheaper() is None
        planner.task(depth(sd15), None)
        cheaper = planner.cheaper()
        assert cheaper is not None
        assert cheaper.context.offload == "model"


class TestShared:
    """A component of one pipeline in another one."""

    def test_it_is_the_same_component(self, tmp_path: Path, sd15: Path) -> None:
        planner, lender = Plans(tmp_path).planner, pipeline(sd15)
        spec = planner.pipeline(pipeline(sd15), {"vae": lender, "scheduler": lender})
        assert spec.components["vae"] is planner.shared(lender, "vae")
        assert isinstance(planner.shared(lender, "scheduler"), SchedulerSpec)

    def test_one_that_is_not_there(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path).planner
        with pytest.raises(RunFailed) as caught:
            planner.shared(pipeline(sd15), "transformer")
        assert caught.value.message == (
            "'transformer' cannot be shared: StableDiffusionPipeline has none here"
        )
        without = pipeline(sd15)
        without.from_pretrained_arguments["vae"] = None
        with pytest.raises(RunFailed, match="'vae' cannot be shared"):
            planner.shared(without, "vae")

    def test_one_in_a_single_file(self, tmp_path: Path, sd15: Path) -> None:
        planner, lender = Plans(tmp_path).planner, pipeline(sd15)
        weights = sd15 / "unet" / "diffusion_pytorch_model.safetensors"
        arguments = {"from_single_file": str(weights), "config": str(sd15)}
        lender = lender.model_copy(update={"from_pretrained_arguments": arguments})
        with pytest.raises(RunFailed) as caught:
            planner.shared(lender, "vae")
        assert caught.value.message == "'vae' cannot be shared out of a single file"
        assert caught.value.hints == (
            "name it as a component of its own, 'vae' beside 'configuration'",
        )


class TestModules:
    """`pre_load_modules`."""

    def test_they_are_imported(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path).planner
        with pytest.raises((WorkflowError, RunFailed), match="no_such_module"):
            planner.pipeline(pipeline(sd15, configuration={"pre_load_modules": ["no_such_module"]}))

    def test_those_of_components_too(self, tmp_path: Path, sd15: Path) -> None:
        vae = {
            "configuration": {
                "component_type": "AutoencoderKL",
                "pre_load_modules": ["no_such_module"],
            },
            "from_pretrained_arguments": {"model_name": str(sd15), "subfolder": "vae"},
        }
        with pytest.raises((WorkflowError, RunFailed), match="no_such_module"):
            Plans(tmp_path).planner.pipeline(pipeline(sd15, vae=vae))

    @pytest.mark.parametrize(("permissions", "is_imported"), [(TRUSTED, True), (ALONE, False)])
    def test_a_strangers_module_needs_trust(
        self,
        tmp_path: Path,
        sd15: Path,
        monkeypatch: pytest.MonkeyPatch,
        permissions: Permissions,
        is_imported: bool,
    ) -> None:
        (tmp_path / "strangers.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "strangers", raising=False)
        planner = Plans(tmp_path, permissions=permissions).planner
        with nullcontext() if is_imported else pytest.raises(WorkflowError, match="strangers"):
            planner.pipeline(pipeline(sd15, configuration={"pre_load_modules": ["strangers"]}))
        assert ("strangers" in sys.modules) == is_imported


class TestTasks:
    def test_their_models_are_parts(self, tmp_path: Path, sd15: Path) -> None:
        plans = Plans(tmp_path, rehearse=True)
        spec = plans.planner.task(depth(sd15), None)
        assert spec.cls is TaskModels
        assert spec.placement == Placement("cpu")
        assert {name: type(part) for name, part in spec.components.items()} == {
            "model": ComponentSpec,
            "processor": ComponentSpec,
        }
        model = spec.components["model"]
        assert model is not None
        assert model.placement == spec.placement
        assert (spec.schedulers, spec.scalars, spec.single_file) == ({}, {}, None)
        assert plans.planner.task(depth(sd15), None) is spec
        assert plans.planner.beside(tmp_path / "x").task(depth(sd15), None) is not spec

    def test_a_device_of_their_own(self, tmp_path: Path, sd15: Path) -> None:
        planner = Plans(tmp_path, rehearse=True).planner
        assert planner.task(depth(sd15), "cuda:0").placement == Placement("cuda:0")
        assert planner.task(depth(sd15), None).placement == Placement("cpu")

    @pytest.mark.parametrize(
        ("device", "offload", "expected"),
        [
            (GPU, None, None),
            (GPU, "model", "model"),
            (GPU, "sequential", "model"),
            (CPU, "model", None),
        ],
    )
    def test_they_visit_a_gpu_with_less_room(
        self, tmp_path: Path, sd15: Path, device: Device, offload: Any, expected: str | None
    ) -> None:
        planner = Plans(tmp_path, device, offload=offload, rehearse=True).planner
        assert planner.task(depth(sd15), None).placement.offload == expected

    def test_a_pipeline_as_a_tasks_model(self, tmp_path: Path, sd15: Path) -> None:
        planner, one = Plans(tmp_path).planner, pipeline(sd15)
        assert planner.task(one, None) is planner.pipeline(one)

    def test_needs_are_known_as_far_as_no_result_decides_them(self, tmp_path: Path) -> None:
        planner = Plans(tmp_path, rehearse=True).planner
        [need] = planner.needs_of(DEPTH, "step")
        assert need.step == "step"
        assert isinstance(need.pipeline, PipelineSpec)
        assert need.pipeline.placement.device == "cpu"
        on_gpu = replace_task(arguments={"image": "a.png", "device": "cuda:0"})
        [need] = planner.needs_of(on_gpu, "step")
        assert need.pipeline.placement.device == "cuda:0"
        with_inputs = replace_task(inputs=[{"image": "a.png", "device": "cuda:0"}, "previous:x"])
        [need] = planner.needs_of(with_inputs, "step")
        assert need.pipeline.placement.device == "cuda:0"
        decided = replace_task(arguments={"image": "a.png", "model_name": "previous_result:name"})
        assert list(planner.needs_of(decided, "step")) == []
        resize = Task.model_validate({"command": "resize_image", "arguments": {"image": "a.png"}})
        assert list(planner.needs_of(resize, "step")) == []


def replace_task(**changes: Any) -> Task:
    return DEPTH.model_copy(update={"arguments": None, **changes})


def test_a_rehearsal_goes_on_without_a_module_that_is_not_installed(
    tmp_path: Path, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.extras.is_installed", lambda package: package != "sdnq")
    one = pipeline(sd15, configuration={"pre_load_modules": ["sdnq"]})
    plans = Plans(tmp_path, rehearse=True)
    plans.planner.pipeline(one)
    assert plans.warnings[0].startswith("rehearsed without it: 'sdnq' needs the package 'sdnq'")
