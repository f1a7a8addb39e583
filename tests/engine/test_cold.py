"""A warm session draws, bit for bit, what an engine of another process draws that holds nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.engine.session import PNG, Json, Session, generate, text_to_image, workflow

COLD = """
import json, sys
from pathlib import Path
import torch
from dw.engine import Engine
from dw.rehearsal import store
from tests.engine.session import Session
folder, cache, cases = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
store.cache_dir = lambda: cache
torch.set_num_threads(1)
for document, arguments in cases:
    session = Session(Engine(), folder)
    print(json.dumps(session.hashes(document, rehearse=True, **arguments)))
"""


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

SHARED = workflow(
    generate("any/model", shared_components=["unet"]),
    {**generate("any/model", reused_components=["unet"], seed=3), "name": "again"},
)
SUB = workflow(
    generate("any/model"),
    {"name": "sub", "workflow": {"path": "inner.json", "arguments": {}}, "result": PNG},
)

CASES: list[tuple[Json, Json]] = [
    (DTYPE, {}),
    (DTYPE, {"dtype": "torch.bfloat16"}),
    (DTYPE, {}),
    (MODEL, {}),
    (MODEL, {"model": "a/sdxl"}),
    (MODEL, {}),
    (variable("lora", "a/lora", loras=LORA), {}),
    (variable("lora", "a/lora", loras=LORA), {"lora": "b/lora"}),
    (variable("scale", 1.0, loras=SCALED), {"scale": 0.5}),
    (variable("scale", 1.0, loras=SCALED), {}),
    (SHARED, {}),
    (SHARED, {}),
    (SUB, {}),
]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_each_picture_of_a_warm_session_is_that_of_a_cold_engine(
    session: Session, sd15: Path
) -> None:
    inner = text_to_image("any/model", arguments={"prompt": "a dog"})  # its step is `gen`, too
    (session.folder / "inner.json").write_text(json.dumps({**inner, "id": "inner"}))
    command = [sys.executable, "-W", "ignore", "-c", COLD, str(session.folder)]
    cache = sd15.parent.parent
    done = subprocess.run(
        [*command, str(cache), json.dumps(CASES)], capture_output=True, text=True, check=True
    )
    cold = [json.loads(line) for line in done.stdout.splitlines()]
    warm = [session.hashes(doc, rehearse=True, **arguments) for doc, arguments in CASES]
    assert warm == cold
    assert cold[0] != cold[1]
    assert cold[3] != cold[4]
    assert cold[6] != cold[7]
    assert cold[8] != cold[9]
    assert len(set(cold[12])) == 2
