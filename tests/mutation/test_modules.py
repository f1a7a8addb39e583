from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

MODULES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("modules.toml").read_text())
REASONS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("survivors.toml").read_text())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_and_its_tests_are_there(name: str) -> None:
    module = MODULES[name]
    assert [p for p in [module["path"], *module["tests"]] if not Path(p).is_file()] == []


def test_a_reason_is_of_a_module() -> None:
    assert REASONS.keys() <= MODULES.keys()
    assert all(reason for reasons in REASONS.values() for reason in reasons.values())
