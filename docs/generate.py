"""`python docs/generate.py` writes what is generated: parts of README.md and of the pages beside
it, README's image, the JSON Schema of workflow files, and the OpenAPI document of the server.

A test compares them, so that they cannot lag behind the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the code beside it is described, wherever another is installed

import dw.repl.commands.all  # noqa: E402, F401  # fills the registry
from docs import openapi, reference  # noqa: E402
from dw.rehearsal.published_models import FAMILIES, NEEDS, REFUSED  # noqa: E402
from dw.repl.commands.registry import COMMANDS  # noqa: E402
from dw.settings import Settings  # noqa: E402

README = ROOT / "README.md"
SCHEMA = ROOT / "dw" / "workflow" / "schema.json"
DOCS = ROOT / "docs"
OPENAPI = DOCS / "openapi.json"
PAGES = (README, DOCS / "workflows.md", DOCS / "rehearsal.md")
RULE = "| --- | --- | --- | --- |"  # of the table of figures
HEADLINES = 8
IMAGE = ROOT / "docs" / "session.svg"


def commands() -> str:
    rows = [(found.usage.replace("|", "\\|"), found.doc) for found in COMMANDS.values()]
    lines = [f"| `{usage}` | {doc} |" for usage, doc in rows]
    return "\n".join(["| command | description |", "| --- | --- |", *lines])


def settings() -> str:
    rows = [
        f"| `{f.name}` | `{_shown(f.default)}` | {f.metadata['doc']} |" for f in fields(Settings)
    ]
    return "\n".join(["| setting | default | is |", "| --- | --- | --- |", *rows])


def figures() -> str:
    """The figures of the shell itself; `bench/results.md` has the others."""
    lines = (ROOT / "bench" / "results.md").read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: lines.index(RULE) + 1 + HEADLINES])


def families() -> str:
    rows = [f"| {f.title} | `{f.pipeline}` | {NEEDS.get(f.title, '')} |" for f in FAMILIES]
    return "\n".join(["| model | pipeline | needs |", "| --- | --- | --- |", *rows])


def refused() -> str:
    rows = [f"| `{start}...` | {why} |" for start, why in REFUSED.items()]
    return "\n".join(["| pipelines | why not |", "| --- | --- |", *rows])


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "settings": settings,
    "figures": figures,
    "reference": reference.reference,
    "tasks": reference.commands,
    "builtins": reference.builtins,
    "families": families,
    "refused": refused,
}


def generated(page: str) -> str:
    """A page with its generated parts made anew: those between `<!-- NAME -->` and the end."""
    for name in re.findall(r"^<!-- (\w+) -->$", page, re.MULTILINE):
        if name in PARTS:
            before, rest = page.split(f"<!-- {name} -->\n")
            _, after = rest.split("<!-- end -->", maxsplit=1)
            page = f"{before}<!-- {name} -->\n{PARTS[name]()}\n<!-- end -->{after}"
    return page


def transcript(readme: str) -> list[str]:
    """The lines of the session that README shows."""
    block = re.search(r"```console\n(dw> .*?)```", readme, re.DOTALL)
    assert block is not None
    return block[1].splitlines()


def draw(lines: list[str]) -> None:
    """README's session as an image of a terminal."""
    console = Console(record=True, width=90, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    for line in lines:
        console.print(Text(line, style="bold green" if line.startswith("dw> ") else ""))
    console.save_svg(str(IMAGE), title="python -m dw.repl", unique_id="session")


def _shown(default: bool | float | str) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return str(default) or "-"


def main() -> None:
    SCHEMA.write_text(reference.schema(), encoding="utf-8")
    OPENAPI.write_text(openapi.openapi(), encoding="utf-8")
    for path in PAGES:
        path.write_text(generated(path.read_text(encoding="utf-8")), encoding="utf-8")
    draw(transcript(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
