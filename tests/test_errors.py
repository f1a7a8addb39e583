"""Errors: one table of classes, kinds and exit codes, which the module's docstring draws."""

import re
from inspect import getmembers, isclass

import pytest

import dw.errors
from dw.errors import KINDS, DwError, WorkflowError
from dw.events import Failed
from dw.jobs.outcome import follow
from dw.types import Diagnostic
from dw.worker.child.failure import failed

CLASSES = {name: cls for name, cls in getmembers(dw.errors, isclass) if issubclass(cls, DwError)}
PROBLEM = Diagnostic("w.json", 3, 7, "unknown key 'ofload'")


def test_the_docstring_draws_every_class_with_its_kind_and_its_exit_code() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+) +([a-z]+) +(\d+)", dw.errors.__doc__ or "", re.M)
    assert {name: (kind, int(code)) for name, kind, code in drawn} == {
        name: (cls.kind, cls.exit_code) for name, cls in CLASSES.items()
    }


def test_every_class_is_found_by_its_kind() -> None:
    assert set(KINDS.values()) == set(CLASSES.values()) - {DwError}


@pytest.mark.parametrize("cls", KINDS.values(), ids=lambda cls: cls.__name__)
def test_an_error_in_the_worker_is_the_same_in_the_shell(cls: type[DwError]) -> None:
    error = cls("no", hints=["a fact"], where="step 'gen'")
    if isinstance(error, WorkflowError):
        error.problems = (PROBLEM,)
    event = failed(1, error)
    assert isinstance(event, Failed)
    same = follow([event], on_event=lambda _: None, on_interrupt=lambda: None).error
    assert type(same) is cls
    assert same.__dict__ == error.__dict__


def test_the_kind_of_a_subclass_is_its_bases() -> None:
    class NoRoom(dw.errors.OutOfResources):
        pass

    assert failed(1, NoRoom("no")).kind == "resources"
