"""Every key, form and command of the format has a test and an example."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("use", generate.coverage.uses(), ids=lambda use: use.name)
def test_it_is_tested_and_shown(use):
    assert use.test, f"no test names {use.name}"
    assert use.example, f"no example has {use.name}"
