"""A warm session draws, bit for bit, what an engine of another process draws that holds nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.engine.session import PNG, Json, Session, generate, text_to_image, workflow

COLD = """
import json, sys
from pathlib import Path
import torch
from dw.engine import Engine
from dw.rehearsal import store
from tests.engine.session import Session
from tests.engine.test_cold import Case, images
folder, cache, cases = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
store.cache_dir = lambda: cache
torch.set_num_threads(1)
for case in cases:
    print(json.dumps(images(Session(Engine(), folder), Case(*case))))
"""


class Case(NamedTuple):
    """A run, and what the files are that its workflow calls."""

    document: Json
    arguments: Json | None = None
    files: Json | None = None


def images(session: Session, case: Case) -> list[str]:
    """The hashes of what a case draws, after its files are written."""
    for name, content in (case.files or {}).items():
        (session.folder / name).write_text(json.dumps(content))
    return session.hashes(case.document, rehearse=True, **(case.arguments or {}))


def variable(name: str, default: Any, **changes: Any) -> Json:
    """A workflow whose model is loaded by a variable."""
    return {**text_to_image("any/model", **changes), "variables": {name: default}}


LORA = [{"model_name": "variable:lora", "weight_name": "x.safetensors"}]
SCALED = [{"model_name": "a/lora", "weight_name": "x.safetensors", "scale": "variable:scale"}]
DTYPE = variable(
    "dtype", "torch.float32", from_pretrained_arguments={"torch_dtype": "variable:dtype"}
)
MODEL = variable("model", "a/sd", from_pretrained_arguments={"model_name": "variable:model"})
MODEL["steps"][0]["pipeline"]["configuration"]["component_type"] = "DiffusionPipeline"
ADAPTER = variable("lora", "a/lora", loras=LORA)
SCALE = variable("scale", 1.0, loras=SCALED)
SHARED = Case(
    workflow(
        generate("any/model", shared_components=["unet"]),
        {**generate("any/model", reused_components=["unet"], seed=3), "name": "again"},
    )
)


def calls(path: str) -> Json:
    return {"name": "sub", "workflow": {"path": path, "arguments": {}}, "result": PNG}


def called(prompt: str = "a dog", **changes: Any) -> Case:
    """A workflow and one that it calls, whose step has the name of its own: `gen`."""
    inner = text_to_image("any/model", arguments={"prompt": prompt}, **changes)
    parent = workflow(generate("any/model"), calls("inner.json"))
    return Case(parent, files={"inner.json": {**inner, "id": "inner"}})


def called_twice(prompt: str) -> Case:
    """The same through a file between them, which does not change."""
    files = {
        **(called(prompt).files or {}),
        "between.json": workflow(calls("inner.json"), id="between"),
    }
    return Case(workflow(generate("any/model"), calls("between.json")), files=files)


CASES = {
    "float32": Case(DTYPE),
    "bfloat16": Case(DTYPE, {"dtype": "torch.bfloat16"}),
    "float32 again": Case(DTYPE),
    "sd": Case(MODEL),
    "sdxl": Case(MODEL, {"model": "a/sdxl"}),
    "sd again": Case(MODEL),
    "lora": Case(ADAPTER),
    "other lora": Case(ADAPTER, {"lora": "b/lora"}),
    "half": Case(SCALE, {"scale": 0.5}),
    "whole": Case(SCALE),
    "shared": SHARED,
    "shared again": SHARED,
    "sub": called(),
    "sub, other prompt": called("a fox"),
    "sub, other model": called(configuration={"component_type": "StableDiffusionXLPipeline"}),
    "sub, with lora": called(loras=[{"model_name": "a/lora", "scale": 1.0}]),
    "sub, with half of it": called(loras=[{"model_name": "a/lora", "scale": 0.5}]),
    "sub again": called(),
    "sub of a sub": called_twice("a dog"),
    "sub of a sub, other prompt": called_twice("a fox"),
    "shared, after others": SHARED,
}
DIFFERENT = [
    ("float32", "bfloat16"),
    ("sd", "sdxl"),
    ("lora", "other lora"),
    ("half", "whole"),
    ("sub", "sub, other prompt", "sub, other model", "sub, with lora", "sub, with half of it"),
    ("sub of a sub", "sub of a sub, other prompt"),
]
OF_CALLS_ALONE = ("sub, other prompt", "sub, with half of it", "sub of a sub, other prompt")
"""Edits of a file that is called which change no model."""


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_each_image_of_a_warm_session_is_that_of_a_cold_engine(
    session: Session, sd15: Path
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", COLD, str(session.folder)]
    cases = list(CASES.values())
    distinct = [case for n, case in enumerate(cases) if case not in cases[:n]]
    command += [str(sd15.parent.parent), json.dumps(distinct)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    drawn = list(map(json.loads, done.stdout.splitlines()))
    cold = {name: drawn[distinct.index(case)] for name, case in CASES.items()}
    warm, loaded = {}, {}
    for name, case in CASES.items():
        warm[name] = images(session, case)
        loaded[name] = session.loaded
    assert warm == cold
    for names in DIFFERENT:
        assert len({tuple(cold[name]) for name in names}) == len(names)
    assert len(set(cold["sub"])) == 2  # of the parent and of the child
    assert [loaded[name] for name in OF_CALLS_ALONE] == [()] * 3
