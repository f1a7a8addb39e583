"""Extras: the optional packages, the extra of dw that installs each, and what to do without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from dw.errors import Install, RunFailed, told

EXTRAS = {
    "bitsandbytes": "bitsandbytes",
    "controlnet_aux": "detectors",
    "cv2": "opencv",
    "facexlib": "faces",
    "fastapi": "serve",
    "gguf": "gguf",
    "num2words": "vision",
    "obstore": "serve",
    "opentelemetry": "otel",
    "optimum": "quanto",
    "runpod": "runpod",
    "sdnq": "sdnq",
    "sentencepiece": "kolors",
    "spandrel": "upscale",
    "torchao": "torchao",
    "uvicorn": "serve",
    "websockets": "comfyui",
}
"""The extra of pyproject.toml that installs a package, by the name under which it is imported."""

_OTHER_COMMANDS = {"mmpose": "pip install openmim && mim install mmdet mmpose"}
"""What installs a package that pip alone cannot install."""


@cache
def is_installed(package: str) -> bool:
    # A name such as `../x` has no package. Import hooks of others fail for an empty one.
    return bool(package) and find_spec(package) is not None


def install(package: str) -> Install:
    """How to install a package: with the extra of dw that has it, or by its own name."""
    if extra := EXTRAS.get(package):
        return Install(f"pip install 'dw[{extra}]'", extra)
    return Install(_OTHER_COMMANDS.get(package, f"pip install {package}"))


def missing_package(name: str, package: str | None = None) -> str | None:
    """The message that `name` needs a package, which is the first part of a dotted name unless it
    is given; None when that is installed.
    """
    package = package or name.partition(".")[0]
    if is_installed(package):
        return None
    command = install(package).command
    return f"{name!r} needs the package {package!r}, which is not installed: {command}"


@contextmanager
def needing(package: str) -> Iterator[None]:
    """Around the import of an optional package and of what comes with it in its extra.

    Raises RunFailed, with how to install it, when an import fails.
    """
    try:
        yield
    except ImportError as error:
        raise RunFailed(f"a library is missing: {told(error)}", hints=[install(package)]) from error
