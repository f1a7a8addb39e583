"""`python docs/generate.py` writes the generated parts of README.md, and its picture.

A test compares them, so that README cannot lag behind the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # describe this checkout's dw

import dw.repl.commands  # noqa: F401  # fills the registry
from dw.repl.registry import markdown_table
from dw.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "session.svg"
PACKAGES = ("", "workflow", "engine", "engine/tasks", "worker", "repl", "repl/commands")
MORE_PACKAGES = ("repl/renderers", "rehearsal")


def commands() -> str:
    return markdown_table().strip()


def settings() -> str:
    rows = [
        f"| `{f.name}` | `{_shown(f.default)}` | {f.metadata['doc']} |" for f in fields(Settings)
    ]
    return "\n".join(["| setting | default | is |", "| --- | --- | --- |", *rows])


def files() -> str:
    """The tree of the package, with the first sentence of each module."""
    return "\n".join(["```", *_tree(), "```"])


def figures() -> str:
    return (ROOT / "bench" / "results.md").read_text(encoding="utf-8").strip()


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "figures": figures,
    "files": files,
}


def generated(readme: str) -> str:
    """README with its generated parts made anew."""
    for name, part in PARTS.items():
        before, rest = readme.split(f"<!-- {name} -->\n")
        _, after = rest.split("<!-- end -->", maxsplit=1)
        readme = f"{before}<!-- {name} -->\n{part()}\n<!-- end -->{after}"
    return readme


def transcript(readme: str) -> list[str]:
    """The lines of the session that README shows."""
    block = re.search(r"```console\n(dw> .*?)```", readme, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def draw(lines: list[str]) -> None:
    """README's session as a picture of a terminal."""
    console = Console(record=True, width=90, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    for line in lines:
        console.print(Text(line, style="bold green" if line.startswith("dw> ") else ""))
    console.save_svg(str(PICTURE), title="python -m dw.repl", unique_id="session")


def _tree() -> Iterator[str]:
    for package in (*PACKAGES, *MORE_PACKAGES):
        folder = ROOT / "dw" / package
        yield f"dw/{package}/".replace("//", "/")
        modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
        yield from (f"  {path.name:18} {_first_sentence(path)}" for path in modules)


def _first_sentence(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(doc.split("\n\n")[0].split()))[0].rstrip(".:")


def _shown(default: bool | float | str) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default) or "-"


if __name__ == "__main__":
    text = generated(README.read_text(encoding="utf-8"))
    README.write_text(text, encoding="utf-8")
    draw(transcript(text))
