"""Whether models fit is reported before anything loads, at the place where they are named."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch
from huggingface_hub import constants

from dw.engine.device import Cpu, Cuda, Device
from dw.engine.files.access import FileAccess
from dw.engine.memory.out_of_memory import LAYERS, NO_SMALLER, OFFLOAD
from dw.engine.models.source import Sources
from dw.errors import RunFailed
from dw.rehearsal import stand_in_model
from dw.types import Diagnostic
from tests.engine.session import Session, generate, workflow

GB = 2**30
MIB = 2**20
BF16 = {"torch_dtype": "torch.bfloat16"}


@dataclass(frozen=True)
class Metered(Cpu):
    """A GPU of 24 GB that must not be touched: its memory is asked of a meter."""

    kind = "cuda"

    def memory(self) -> Any:
        raise AssertionError("this would make a context")

    def capacity(self) -> int | None:
        return 24 * GB


@dataclass(frozen=True)
class Silent(Metered):
    def capacity(self) -> int | None:
        return None


@dataclass(frozen=True)
class Host(Cpu):
    def capacity(self) -> int | None:
        return 64 * GB


GPU = Metered("cuda:0", "for the test", lambda: 0)
HOST = Host("cpu", "for the test", lambda: 0)


def sparse(file: Path, nbytes: int) -> None:
    """A safetensors file that takes no room on the disk, of numbers of 16 bits."""
    entry = {"dtype": "BF16", "shape": [nbytes // 2], "data_offsets": [0, nbytes]}
    header = json.dumps({"weight": entry}).encode()
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as data:
        data.write(len(header).to_bytes(8, "little") + header)
        data.truncate(8 + len(header) + nbytes)


def big(folder: Path, sd15: Path, *, unet: int) -> Path:
    """A pipeline with a text encoder of 9 GB."""
    shutil.copytree(sd15, folder)
    sparse(folder / "unet" / "diffusion_pytorch_model.safetensors", unet)
    sparse(folder / "text_encoder" / "model.safetensors", 9 * GB)
    return folder


@pytest.fixture
def model(sd15: Path, session: Session) -> Path:
    return big(session.folder / "model", sd15, unet=20 * GB)


def reported(
    session: Session, *steps: Any, device: Device = GPU, trust: bool = False, **more: Any
) -> list[Diagnostic]:
    def found(wanted: str | None) -> Device:
        return HOST if wanted == "cpu" else device

    session.engine._find_device = found  # type: ignore[method-assign]
    document = session.document(workflow(*steps, **more), trust=trust)
    return [each for each in session.engine.check_models(document) if each.severity != "note"]


def step(name: str = "gen", **changes: Any) -> Any:
    options = {**BF16, **changes.pop("from_pretrained_arguments", {})}
    return {**generate("model", from_pretrained_arguments=options, **changes), "name": name}


def test_what_is_too_large_is_told_at_its_name(session: Session, model: Path) -> None:
    [problem] = reported(session, step())
    assert str(problem).startswith(
        f"{session.folder}/workflow.json:11:20: warning: the weights take 29.0 GB on cuda:0, which "
        "has 24.0 GB: gen.unet (20.0 GB), gen.text_encoder (9.0 GB), gen.vae ("
    )
    assert problem.message.endswith(f"; would fit: {OFFLOAD}")


@pytest.mark.parametrize(
    "configuration",
    [
        {"offload": "model"},
        {"offload": "sequential"},
        {"group_offload": {"offload_type": "leaf_level"}},
        {"components": {"unet": {"residency": "on_demand"}}},
        {"device": "cpu"},
        {"enable_layerwise_casting": {}},
    ],
)
def test_what_fits_or_gets_smaller_is_not_told(
    session: Session, model: Path, configuration: dict[str, Any]
) -> None:
    assert reported(session, step(configuration=configuration)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"model_name": "some/model"},
        {"model_name": "missing"},
        {"custom_pipeline": "code.py"},
    ],
)
def test_what_nobody_knows_is_not_told(
    session: Session, model: Path, options: dict[str, str]
) -> None:
    assert reported(session, step(from_pretrained_arguments=options), trust=True) == []


def test_without_a_meter_nothing_is_told(session: Session, model: Path) -> None:
    assert reported(session, step(), device=Silent("cuda:0", "for the test", lambda: 0)) == []


def test_what_is_known_is_told_whatever_else_is_not(session: Session, model: Path) -> None:
    sparse(model / "text_encoder" / "model.safetensors", 30 * GB)
    casting = {"enable_layerwise_casting": {}}
    [problem] = reported(session, step(configuration=casting))
    assert "the weights take 30.0 GB" in problem.message
    assert "unet" not in problem.message
    [problem] = reported(session, step(configuration={"offload": "model"}))
    assert problem.message.endswith(LAYERS)


def test_a_component_of_its_own_is_told_where_it_is_named(session: Session, model: Path) -> None:
    sparse(model / "unet" / "diffusion_pytorch_model.safetensors", MIB)
    sparse(model / "big" / "diffusion_pytorch_model.safetensors", 25 * GB)
    unet = {
        "configuration": {"component_type": "UNet2DConditionModel"},
        "from_pretrained_arguments": {"model_name": "model", "subfolder": "big"},
    }
    document = workflow(step(unet=unet))
    text = json.dumps(document, indent=1)
    [problem] = reported(session, step(unet=unet))
    line = text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :] == '"model",'
    assert text.split("\n")[problem.line].strip().startswith('"subfolder"')
    assert "gen.unet (25.0 GB)" in problem.message


def test_models_of_two_steps_are_there_together_unless_one_is_released(
    session: Session, sd15: Path
) -> None:
    for name in ("model", "other"):
        big(session.folder / name, sd15, unet=10 * GB)
    other = {**generate("other", from_pretrained_arguments=BF16), "name": "refine"}
    [problem] = reported(session, step(), other)
    assert "the weights take 38.0 GB" in problem.message
    assert reported(session, {**step(), "release_pipeline": True}, other) == []


def test_a_model_of_a_variable_is_told_with_it(session: Session, model: Path) -> None:
    named = step(from_pretrained_arguments={"model_name": "variable:which"})
    [problem] = reported(session, named, variables={"which": "model"})
    assert problem.message.endswith("(argument 'which')")


def test_a_model_of_a_sub_workflow_is_told_in_its_file(session: Session, model: Path) -> None:
    child = session.folder / "child.json"
    child.write_text(json.dumps(workflow(step())))
    [problem] = reported(session, {"name": "sub", "workflow": {"path": "child.json"}})
    assert problem.path == str(child)
    assert "sub.gen.unet (20.0 GB)" in problem.message


def test_models_of_commands_are_told_too(session: Session, stand_ins: None) -> None:
    shutil.copytree(stand_in_model("language"), session.folder / "writer")
    sparse(session.folder / "writer" / "model.safetensors", 30 * GB)
    write = {"command": "text_generation", "arguments": {"prompt": "a", "model_name": "writer"}}
    [problem] = reported(session, {"name": "write", "task": write})
    assert problem.message == (
        "the weights take 30.0 GB on cuda:0, which has 24.0 GB: write.model (30.0 GB); "
        f"would fit: {NO_SMALLER}"
    )


def test_a_gpu_is_asked_of_its_driver_and_not_touched(
    session: Session, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*_: Any) -> None:
        raise AssertionError("this would make a context")

    monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
    monkeypatch.setattr(torch.cuda, "mem_get_info", touched)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_get_pynvml_handler", lambda device: f"GPU {device.index}")
    memory = {"GPU 0": SimpleNamespace(total=16 * GB)}
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", memory.__getitem__)
    [problem] = session.engine.check_models(session.document(workflow(step())), "cuda")
    assert "on cuda:0, which has 16.0 GB" in problem.message


def test_a_driver_that_does_not_answer_tells_nothing() -> None:
    assert Cuda("cuda:0", "for the test").capacity() is None  # there is no GPU here


def test_there_is_no_such_device(session: Session, model: Path) -> None:
    assert session.engine.check_models(session.document(workflow(step())), "cuda:7") == ()


def test_nothing_is_downloaded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", asked)
    sources, access = Sources(downloads=False), FileAccess(session.folder)
    find: Any
    for find in (
        partial(sources.pipeline, "some/model"),
        partial(sources.modular, "some/model"),
        partial(sources.component, "some/model", "vae"),
        partial(sources.file, "some/model", "a.safetensors"),
        partial(sources.file, "some/model", None),
    ):
        with pytest.raises(RunFailed, match="not in the Hub cache"):
            find(access=access, options={"local_files_only": False})
