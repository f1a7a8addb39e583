from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from dw import extras
from dw.engine.patches import library_warnings, progress_bars
from dw.engine.patches.progress_bars import Listener
from tests.engine.session import Session, generate, text_to_image, workflow


def test_a_prompt_that_is_cut_is_told_once_in_each_run(
    warm: Session, sd15: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = {"prompt": " ".join(f"cat {number}" for number in range(100))}
    twice = workflow(
        generate(sd15, arguments=long), {**generate(sd15, arguments=long), "name": "again"}
    )
    for _ in range(2):
        warm.run(twice)
        [text] = warm.warnings
        assert text.startswith("The following part of your input was truncated because CLIP")
        assert len(text) <= 300
    assert capfd.readouterr() == ("", "")


def test_a_size_that_is_rounded_is_told(warm: Session, flux: Path) -> None:
    changes = {"configuration": {"component_type": "FluxPipeline"}, "arguments": {"width": 63}}
    warm.run(text_to_image(flux, **changes))
    assert any("divisible by" in text for text in warm.warnings)
    assert "step 'gen' made 48x64 pixels, not the 63x64 that were asked for" in warm.warnings


def test_a_run_as_asked_for_has_no_warnings(warm: Session, sd15: Path) -> None:
    warm.run(text_to_image(sd15))
    assert warm.warnings == []


@pytest.mark.parametrize("name", ["diffusers.pipelines.x", "transformers.models.y"])
def test_a_warning_is_one_line(name: str) -> None:
    told: list[str] = []
    listener = Listener(lambda *_: None, lambda *_: None, told.append)
    with progress_bars.listening(listener):
        logging.getLogger(name).warning("the %s\n  is cut", "prompt")
        logging.getLogger(name).info("nobody asked")
        logging.getLogger(name).warning("`x` is deprecated and will be removed")
    assert told == ["the prompt is cut"]


def test_what_is_said_outside_of_a_run_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("diffusers.pipelines.x").warning("nobody listens")
    assert capfd.readouterr() == ("", "")


def test_notes_for_programmers_are_dropped() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        library_warnings.install()
        for module in ("diffusers.models.x", "transformers", "numpy"):
            for category in (FutureWarning, DeprecationWarning):
                warnings.warn_explicit("old", category, "x.py", 1, module=module, registry={})
    assert len(seen) == 2


QUANTIZERS = ("bitsandbytes", "optimum.quanto", "sdnq", "torchao")


def test_imports_are_quiet_and_errors_are_not() -> None:
    found = ", ".join(name for name in QUANTIZERS if extras.is_installed(name.partition(".")[0]))
    code = f"""
import logging
import dw.engine
import diffusers.quantizers.auto, transformers.quantizers.auto, peft
import {found or "torch"}
for name in {tuple(library_warnings.AT_IMPORT)}:
    logging.getLogger(name).warning("of %s, which is new", name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == len(library_warnings.AT_IMPORT), done.stderr
    for name, line in zip(library_warnings.AT_IMPORT, lines, strict=True):
        assert line.endswith(f"of {name}, which is new")
