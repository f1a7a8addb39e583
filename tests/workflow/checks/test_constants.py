"""`constant:NAME`, checked without importing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.errors import UsageError
from dw.workflow.checks import constants
from dw.workflow.checks.constants import constant_error, literals
from tests.workflow.samples import messages, of_pipeline, parse

SIGMAS = "constant:diffusers.pipelines.ltx2.utils.DISTILLED_SIGMA_VALUES"
RATIOS = "constant:diffusers.hooks.mag_cache.FLUX_MAG_RATIOS"
VALUES = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
KNOWN = (
    "accelerate, bitsandbytes, controlnet_aux, diffusers, gguf, optimum, peft, sdnq, torch, "
    "torchao, transformers"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SIGMAS, None),
        (RATIOS, None),
        ("constant:torch.bfloat16", None),
        ("constant:transformers.Nobody", None),  # its names are made when it is imported
        (
            f"{SIGMAS}S",
            "utils has no constant 'DISTILLED_SIGMA_VALUESS' "
            "(did you mean 'DISTILLED_SIGMA_VALUES'?)",
        ),
        (
            "constant:SIGMAS",
            "diffusers has no constant 'SIGMAS'; one of a module is written after the module's "
            "name",
        ),
        (
            "constant:FluxPipeline",
            "'constant:FluxPipeline' is a function or a class, not a value",
        ),
        (
            "constant:diffusers.hooks.mag_cache.nearest_interp",
            "'constant:diffusers.hooks.mag_cache.nearest_interp' is a function or a class, "
            "not a value",
        ),
        (
            "constant:diffusers.hooks.mag_cache",
            "'constant:diffusers.hooks.mag_cache' is a module, not a value",
        ),
        ("constant:a-b", "a constant is named by identifiers and dots, got 'constant:a-b'"),
        ("constant:", "a constant is named by identifiers and dots, got 'constant:'"),
        (
            f"constant:torch.{'x' * 200}",
            f"a constant is named by identifiers and dots, got 'constant:torch.{'x' * 43}…",
        ),
        (
            "constant:os.environ",
            f"'constant:os.environ' would import 'os.environ', which is not in the known "
            f"packages ({KNOWN}); the setting 'trust' allows it",
        ),
        (
            "constant:torch.__dict__",
            "'constant:torch.__dict__' names a private attribute of Python; "
            "the setting 'trust' allows it",
        ),
        (
            "constant:controlnet_aux.X",
            "'constant:controlnet_aux.X' needs the package 'controlnet_aux', "
            "which is not installed",
        ),
    ],
)
def test_what_is_wrong_is_told_without_importing(text: str, message: str | None) -> None:
    assert constant_error(text, trust=False) == message


def test_trust_allows_every_package() -> None:
    assert constant_error("constant:math.pi", trust=True) is None


def test_a_value_that_is_written_out_is_known_before_anything_is_imported() -> None:
    assert literals([SIGMAS, RATIOS, "constant:os.sep"], trust=False) == {SIGMAS: VALUES}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("X = [1, 2]", {"constant:diffusers.models.m.X": [1, 2]}),
        ("X: tuple = (1, 'a')", {"constant:diffusers.models.m.X": (1, "a")}),
        ("X = [1]\nX = [2]", {}),
        ("X = 1\nX += 1", {}),
        ("X = len('a')", {}),
        ("if True:\n    X = 1", {}),
        ("X = [1", {}),
    ],
)
def test_a_value_is_known_when_it_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, known: dict[str, Any]
) -> None:
    (tmp_path / "m.py").write_text(text)
    monkeypatch.setattr(constants, "find_module", lambda path: (tmp_path / "m.py", path[3:]))
    assert literals("constant:diffusers.models.m.X", trust=False) == known


def test_a_default_has_the_type_of_the_constant() -> None:
    document = parse(
        of_pipeline(arguments={"sigmas": "variable:sigmas", "timesteps": "variable:ratios"})
        | {"variables": {"sigmas": SIGMAS, "ratios": RATIOS}}
    )
    assert document.variables == {"sigmas": VALUES, "ratios": RATIOS}
    assert document.convert("sigmas", "1, 0.5") == [1.0, 0.5]
    with pytest.raises(UsageError, match="sigmas must be a list of numbers, got 'high, low'"):
        document.convert("sigmas", "high, low")
    assert document.convert("sigmas", SIGMAS) == SIGMAS  # what it is, the engine will know
    assert document.convert("ratios", "whatever") == "whatever"


def test_a_run_gets_copies() -> None:
    document = parse(of_pipeline(arguments={"sigmas": SIGMAS}))
    first, second = (document.bind().steps[0].pipeline for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.arguments["sigmas"] == second.arguments["sigmas"] == VALUES
    assert first.arguments["sigmas"] is not second.arguments["sigmas"]


def test_a_constant_may_stand_where_the_format_wants_its_type() -> None:
    data = of_pipeline(arguments={}, loras=[{"model_name": "a/b", "scale": SIGMAS}])
    assert messages(data) == [
        "'scale' must be a number, got [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.4…"
    ]


def test_a_constant_of_a_default_is_checked_where_it_is_used() -> None:
    data = of_pipeline(arguments={"sigmas": "variable:s"}) | {"variables": {"s": "constant:a-b"}}
    assert messages(data) == [
        "a constant is named by identifiers and dots, got 'constant:a-b' (argument 's')"
    ]
