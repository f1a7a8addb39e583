"""README and the pages beside it tell the truth."""

import importlib.util
import re
from pathlib import Path

import pytest

from dw.workflow import validate_text

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", generate.PAGES, ids=lambda page: page.name)
def test_the_generated_parts_are_up_to_date(page: Path):
    text = page.read_text(encoding="utf-8")
    assert generate.generated(text) == text, "run: python docs/generate.py"


def test_the_workflow_that_the_page_shows_is_right():
    page = (ROOT / "docs" / "workflows.md").read_text(encoding="utf-8")
    shown = re.search(r"```json\n(\{.*?)```", page, re.DOTALL)
    assert validate_text(shown[1], ROOT / "shown.json").problems == ()


def test_the_openapi_document_is_up_to_date():
    made = generate.openapi.openapi()
    assert generate.OPENAPI.read_text(encoding="utf-8") == made, "run: python docs/generate.py"


def test_the_schema_is_up_to_date():
    made = generate.reference.schema()
    assert generate.SCHEMA.read_text(encoding="utf-8") == made, "run: python docs/generate.py"


def test_every_file_it_names_exists():
    for name in re.findall(r"\b((?:examples|docs|tests|bench)/[\w./-]+\.\w+)", README):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/worker.md", "CONTRIBUTING.md"])
def test_every_module_that_the_map_names_exists(page: str):
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / page).read_text(encoding="utf-8"))
    assert named
    modules = [str(path) for path in ROOT.glob("dw/**/*.py")]
    lost = [name for name in named if not any(each.endswith(f"/{name}") for each in modules)]
    assert [name for name in lost if not (ROOT / name).is_file()] == []


def test_every_test_that_the_checklist_names_exists():
    files = {
        "A": "tests/acceptance/test_checklist.py",
        "F": "tests/acceptance/test_faults.py",
    }
    checklist = (ROOT / "CHECKLIST.md").read_text(encoding="utf-8")
    named = re.findall(r"`([AF]|tests/[\w/]+\.py)(?:/|::)(test_\w+)`", checklist)
    assert len(named) >= 30
    for file, test in named:
        text = (ROOT / files.get(file, file)).read_text(encoding="utf-8")
        assert f"def {test}(" in text, test


def test_the_table_of_commands_has_a_row_for_each():
    rows = generate.commands().splitlines()[2:]
    assert len(rows) == len(generate.COMMANDS)
    usage = r"| `worker [start\|restart\|stop\|where] [--full]` |"
    assert [row for row in rows if row.startswith(usage)]
