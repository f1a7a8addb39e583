"""Extras: what is named to a user is what pyproject.toml declares."""

import re
import tomllib
from pathlib import Path

import pytest

from dw.errors import Install
from dw.extras import EXTRAS, install, missing_package

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
DECLARED = {
    extra: [re.split(r"[<>=;\s]", each)[0].replace("-", "_") for each in requirements]
    for extra, requirements in PROJECT["optional-dependencies"].items()
    if extra not in ("dev", "mutation")  # no user needs them
}
DISTRIBUTIONS = {
    "cv2": "opencv_python_headless",
    "opentelemetry": "opentelemetry_sdk",
    "optimum": "optimum_quanto",
}


@pytest.mark.parametrize("package", EXTRAS)
def test_the_extra_of_a_package_declares_it(package: str) -> None:
    assert DISTRIBUTIONS.get(package, package) in DECLARED[EXTRAS[package]]


def test_every_extra_is_named_for_a_package() -> None:
    assert set(EXTRAS.values()) == set(DECLARED)


@pytest.mark.parametrize(
    ("package", "how"),
    [
        ("optimum", Install("pip install 'dw[quanto]'", "quanto")),
        ("mmpose", Install("pip install openmim && mim install mmdet mmpose")),
        ("mypackage", Install("pip install mypackage")),
    ],
)
def test_what_has_no_extra_is_installed_by_its_name(package: str, how: Install) -> None:
    assert install(package) == how


def test_a_missing_package_is_named_with_what_needs_it() -> None:
    assert missing_package("json.decoder") is None
    assert missing_package("nowhere.Class") == (
        "'nowhere.Class' needs the package 'nowhere', which is not installed: pip install nowhere"
    )
