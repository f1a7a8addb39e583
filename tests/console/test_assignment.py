"""Values of assignments: how much a text and how deep a JSON value may be."""

from __future__ import annotations

import pytest

from dw.console.assignment import decode_json
from dw.errors import UsageError
from dw.repl import variables
from dw.repl.lexer import LexError, lex
from dw.repl.variables import Variables


def nested(depth: int) -> str:
    return '{"a": [' * (depth // 2) + "1" + "]}" * (depth // 2)


def test_json_is_nested_as_deep_as_in_a_file() -> None:
    assert decode_json(nested(100))
    for depth in (102, 100_000):
        with pytest.raises(UsageError, match="objects and lists are nested more than 100 deep"):
            decode_json(nested(depth))


def test_the_shell_reads_no_json_that_python_cannot() -> None:
    with pytest.raises(LexError, match="the JSON is nested too deep") as error:
        lex("run x:=" + nested(100_000))
    assert error.value.offset == 7


def test_a_variable_cannot_double_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "LARGEST", 100)
    found = Variables({"x": "a" * 10})
    assert found.expand(lex("let y=" + "${x}" * 9 + "b" * 10)[1]) == "a" * 90 + "b" * 10
    with pytest.raises(UsageError, match="the text has 110 characters; at most 100 are taken"):
        found.expand(lex("let y=" + "${x}" * 11)[1])
