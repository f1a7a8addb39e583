from __future__ import annotations

import subprocess
import sys

import pytest

import dw.workflow
from dw.workflow.checks.classes import DTYPES, diffusers_names

HEAVY = "{'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'accelerate'}"


def test_checking_a_workflow_imports_nothing_heavy() -> None:
    code = f"""
import sys
from pathlib import Path
from dw.workflow import parse_document
text = '''{{"id": "w", "steps": [{{"name": "a", "pipeline": {{
    "configuration": {{"component_type": "FluxPipeline"}},
    "from_pretrained_arguments": {{"model_name": "a/b", "torch_dtype": "torch.float16"}},
    "arguments": {{}}}}}}]}}'''
parse_document(text, Path("w.json")).bind()
assert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_of_diffusers_are_read_from_its_text() -> None:
    assert {"FluxPipeline", "AutoencoderKL", "DiffusionPipeline"} <= diffusers_names()
    assert diffusers_names() is diffusers_names()


def test_every_dtype_is_one_of_torchs() -> None:
    torch = pytest.importorskip("torch")
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)


def test_the_public_names_are_sorted() -> None:
    assert sorted(dw.workflow.__all__) == dw.workflow.__all__
