from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.repl.lexer import LexError, Variable, Word, lex, lex_script, quote, shell_word


def values(line: str) -> list[tuple[str | None, str]]:
    return [(word.name, word.text) for word in lex(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("   # nothing", []),
        ("run", [(None, "run")]),
        ("run # twice", [(None, "run")]),
        ("it's", [(None, "it's")]),
        ("prompt=it's", [("prompt", "it's")]),
        (r"path=C:\models\sd", [("path", r"C:\models\sd")]),
        ("tag=#1", [("tag", "#1")]),
        ("a#b", [(None, "a#b")]),
        ("prompt='a cat'", [("prompt", "a cat")]),
        (r"prompt='\n'", [("prompt", r"\n")]),
        (r'prompt="a \"red\" cat\n\t\\"', [("prompt", 'a "red" cat\n\t\\')]),
        (r'path="C:\models"', [("path", r"C:\models")]),
        ('prompt="""a\n"red"\ncat"""', [("prompt", 'a\n"red"\ncat')]),
        ("image=", [("image", "")]),
        ('prompt=""', [("prompt", "")]),
        ("http://x/?a=b", [(None, "http://x/?a=b")]),
        ("arg -steps", [(None, "arg"), (None, "-steps")]),
        ("a=1=2", [("a", "1=2")]),
        ("load \\\n  sdxl", [(None, "load"), (None, "sdxl")]),
        ("cost=$$5", [("cost", "$$5")]),
        ("x='${a}'", [("x", "${a}")]),
    ],
)
def test_words_say_what_was_typed(line: str, expected: list[tuple[str | None, str]]) -> None:
    assert values(line) == expected


@pytest.mark.parametrize(
    ("line", "form", "text"),
    [
        ("loras:=[]", "json", "[]"),
        ('loras:=[{"name": "x", "scale": 0.8}]', "json", '[{"name": "x", "scale": 0.8}]'),
        ("size:=[1,\n2]", "json", "[1,\n2]"),
        ("prompt=@fox.txt", "file", "fox.txt"),
        ('prompt=@"red fox.txt"', "file", "red fox.txt"),
        ("data:=@x.json", "json-file", "x.json"),
        ('prompt="@home"', "text", "@home"),
    ],
)
def test_a_value_is_text_or_json_or_a_file(line: str, form: str, text: str) -> None:
    (word,) = lex(line)
    assert (word.form, word.text) == (form, text)


@pytest.mark.parametrize(
    ("line", "message", "column"),
    [
        ('arg prompt="a cat', 'this " is never closed', 12),
        ("arg prompt='a cat", "this ' is never closed", 12),
        ("arg prompt='a\ncat'", "this ' is never closed", 12),
        ('run x="""a', 'this """ is never closed', 7),
        ("run x='it's'", "a blank is missing after the closing quote", 11),
        ("run x:=[1,}", "not valid JSON after :=", 11),
        ("run x:=", "not valid JSON after :=", 8),
        ("run x=${}", "this ${ does not begin a variable", 7),
        ('run x="ab${"', "this ${ does not begin a variable", 10),
    ],
)
def test_an_error_names_its_column(line: str, message: str, column: int) -> None:
    with pytest.raises(LexError, match=message.replace("$", r"\$").replace("{", r"\{")) as caught:
        lex(line)
    assert (caught.value.line, caught.value.column) == (1, column)


@pytest.mark.parametrize(
    ("text", "is_incomplete"),
    [('x="""a', True), ("x:=[1,", True), ('x="a', False), ("x:=", False), ("x:=}", False)],
)
def test_only_what_more_lines_can_repair_is_incomplete(text: str, is_incomplete: bool) -> None:
    _, (error,) = lex_script(text)
    assert error.incomplete is is_incomplete


def test_variables_are_found_outside_single_quotes() -> None:
    words = lex("a=${x} b=\"${y} z\" c='${x}' d=$${x}")
    assert [word.expand({"x": "1", "y": "2"}.__getitem__) for word in words] == [
        "1",
        "2 z",
        "${x}",
        "${x}",
    ]


def test_a_script_is_read_to_its_end_and_every_error_has_its_line() -> None:
    statements, errors = lex_script('load A\n# note\n\narg x="1\nrun y=\'2\narg p="""a\nb"""\nexit')
    assert [(s.line, s.text) for s in statements] == [
        (1, "load A"),
        (6, 'arg p="""a\nb"""'),
        (8, "exit"),
    ]
    assert [(error.line, error.column) for error in errors] == [(4, 7), (5, 7)]


def test_a_word_of_the_command_line_keeps_its_quotes() -> None:
    assert shell_word("prompt=\"a\" 'b'") == Word(("\"a\" 'b'",), 0, 14, "prompt")
    assert shell_word("x:=[1]").form == "json"
    assert shell_word("x=@a").form == "file"
    assert shell_word("FluxDev").name is None


@given(st.text())
def test_a_quoted_text_reads_as_itself(text: str) -> None:
    assert [word.text for word in lex(quote(text))] == [text]
    assert [(word.name, word.text) for word in lex(f"prompt={quote(text)}")] == [("prompt", text)]


@given(st.text())
def test_any_text_is_words_or_an_error_within_it(text: str) -> None:
    _, errors = lex_script(text)
    assert all(0 <= error.offset <= len(text) for error in errors)


@given(st.lists(st.text(), max_size=5))
def test_words_lie_where_they_say(texts: list[str]) -> None:
    line = " ".join(map(quote, texts))
    assert [lex(line[word.start : word.end])[0].text for word in lex(line)] == texts


def test_a_variable_remembers_its_name() -> None:
    assert lex("x=${run.output}")[0].pieces == (Variable("run.output"),)
