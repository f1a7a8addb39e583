from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.workflow.json_path import walk
from dw.workflow.jsonc import DEPTH_LIMIT, JsonError, line_column, parse_json
from tests.workflow.samples import unmarked

FILLING = ["", " ", "\n", "\t", "// note\n", "/* note */", "/**/", "/* two\nlines */", '// "{[,\n']

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('ab/*, "\\', max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def decorated(text: str, data: st.DataObject) -> str:
    """JSON with comments and spaces around each of its tokens, and trailing commas."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[^\s,:\[\]{}"]+|[,:\[\]{}]', text)
    pieces = []
    for index, token in enumerate(tokens):
        filling = data.draw(st.sampled_from(FILLING))
        is_full = index and tokens[index - 1] not in "[{"
        comma = "," if token in "]}" and is_full and data.draw(st.booleans()) else ""
        pieces.append(f"{comma}{filling}{token}")
    return "".join(pieces)


@given(trees)
def test_plain_json_reads_as_the_standard_library_reads_it(tree: Any) -> None:
    assert parse_json(json.dumps(tree)).data == tree
    assert parse_json(json.dumps(tree, indent=2, ensure_ascii=False)).data == tree


@given(trees, st.data())
def test_comments_and_trailing_commas_change_nothing(tree: Any, data: st.DataObject) -> None:
    assert parse_json(decorated(json.dumps(tree), data)).data == tree


@given(trees, st.data())
def test_every_value_stands_where_the_index_says(tree: Any, data: st.DataObject) -> None:
    text = decorated(json.dumps(tree), data)
    source = parse_json(text)
    lines = text.split("\n")
    for path, value in walk(tree):
        line, column = source.position(path)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        if isinstance(value, dict | list):
            assert rest[0] == ("{" if isinstance(value, dict) else "[")
        else:
            assert rest.startswith(json.dumps(value))


@given(trees)
def test_every_key_stands_where_the_index_says(tree: Any) -> None:
    text = json.dumps(tree, indent=1)
    source = parse_json(text)
    lines = text.split("\n")
    for path, _ in walk(tree):
        if path and isinstance(path[-1], str):
            line, column = source.position(path, at_key=True)
            assert lines[line - 1][column - 1 :].startswith(json.dumps(path[-1]))


def errors(text: str) -> list[JsonError]:
    try:
        parse_json(text)
    except JsonError as error:
        return [error]
    return []


@given(st.text("{}[]\",:/*\\ \n'abc0.-+eE", max_size=30))
def test_any_text_is_read_or_refused_at_a_place_inside_it(text: str) -> None:
    for error in errors(text):
        assert 0 <= error.offset <= len(text)
        assert error.message


@given(st.text("ab\n", max_size=30), st.data())
def test_line_and_column_lead_back_to_the_offset(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    line, column = line_column(text, offset)
    assert sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1 == offset


def test_a_missing_place_is_the_place_of_what_is_around_it() -> None:
    source = parse_json('{\n "a": [1]}')
    assert source.position(("a", 5, "b")) == (2, 7)
    assert source.position(("c",), at_key=True) == (1, 1)


BROKEN = [
    ("¶", "the file is empty"),
    ("// nothing\n¶", "the file is empty"),
    ("{} ¶{}", "the workflow ends before '{'; remove what follows"),
    ("{¶", "the file ends too early: the '}' of the '{' on line 1 is missing"),
    ('{"a": [1,¶', "the file ends too early: the ']' of the '[' on line 1 is missing"),
    (
        '{\n"a": 1 ¶"b": 2}',
        "expected ',' or the '}' of the '{' on line 1 after the value of 'a', found '\"'",
    ),
    ('{"a": [1 ¶2]}', "expected ',' or the ']' of the '[' on line 1 after an item, found '2'"),
    ('{"a": [1¶}', "expected ',' or the ']' of the '[' on line 1 after an item, found '}'"),
    ('{"a" ¶1}', "expected ':' after the key 'a', found '1'"),
    ('{"a":¶}', "expected a value, found '}'"),
    ('{"a":¶', "expected a value, found the end of the file"),
    ('{"a": 1,¶, "b": 2}', "expected a key or the '}' of the '{' on line 1, found ','"),
    ("[¶,]", "expected a value, found ','"),
    ("{¶a: 1}", 'a key is written in double quotes: "a"'),
    ("{¶'a': 1}", "a key is written in double quotes"),
    ("{\"a\": ¶'b'}", "a string is written in double quotes"),
    (
        '{"a": ¶True}',
        "'True' is not a value; a string is written in double quotes (did you mean 'true'?)",
    ),
    (
        '{"a": ¶None}',
        "'None' is not a value; a string is written in double quotes (did you mean 'null'?)",
    ),
    (
        '{"a": ¶flase}',
        "'flase' is not a value; a string is written in double quotes (did you mean 'false'?)",
    ),
    ('{"a": ¶euler}', "'euler' is not a value; a string is written in double quotes"),
    ('{"a": ¶NaN}', "NaN is not a number in JSON"),
    ('{"a": ¶-Infinity}', "-Infinity is not a number in JSON"),
    ('{"a": ¶01}', "'01' is not a number"),
    ('{"a": ¶.5}', "'.5' is not a number"),
    ('{"a": ¶1e999}', "this number is too large"),
    ('{"a": ¶' + "9" * 5000 + "}", "this number is too large"),
    ('{"a": ¶"b', "this string is not closed on its line; a line break is written \\n"),
    ('{"a": ¶"b\nc"}', "this string is not closed on its line; a line break is written \\n"),
    ('{"a": "b¶\tc"}', "a control character is written with an escape: \\t"),
    ('{"a": "C:¶\\models"}', "\\m is not an escape; a backslash in a string is written \\\\"),
    ('{"a": "¶\\u12"}', "\\u is followed by four hexadecimal digits; a backslash is \\\\"),
    ('{"a": ¶"\\ud800"}', "a string holds half of a surrogate pair, which is not a character"),
    ('{"a": 1} ¶/* b', "this comment is not closed: '*/' is missing"),
    ('{"a": ¶/ 1}', "expected a value, found '/'"),
    ('{"a":¶\u00a01}', "expected a value, found '\\xa0'"),
]


@pytest.mark.parametrize(("marked", "message"), BROKEN)
def test_broken_json_is_named_where_it_breaks(marked: str, message: str) -> None:
    text, line, column = unmarked(marked)
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    found = line_column(text, caught.value.offset)
    assert (*found, caught.value.message) == (line, column, message)


@pytest.mark.parametrize("brackets", ["[]", ("{'a':", "}")])
def test_deep_nesting_is_an_error_and_not_a_crash(brackets: str) -> None:
    opening = brackets[0].replace("'", '"')
    with pytest.raises(JsonError, match=f"nested more than {DEPTH_LIMIT} deep"):
        parse_json(opening * 5000 + "1" + brackets[1] * 5000)


def test_nesting_up_to_the_limit_is_read() -> None:
    data = parse_json("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT).data
    for _ in range(DEPTH_LIMIT - 1):
        (data,) = data
    assert data == []


def test_a_comment_sign_in_a_string_is_text() -> None:
    assert parse_json('{"url": "http://x/*y*/", "w": "a // b"}').data == {
        "url": "http://x/*y*/",
        "w": "a // b",
    }


def test_a_comment_may_touch_a_value() -> None:
    assert parse_json("[1// one\n,true/* yes */]").data == [1, True]


def test_a_key_given_twice_is_found_at_its_second_place() -> None:
    source = parse_json('{"a": 1,\n "b": {"a": 2, "a": 3}, "a": 4}')
    assert [(each.path, each.message) for each in source.duplicates] == [
        (("b", "a"), "'a' is given twice"),
        (("a",), "'a' is given twice"),
    ]
    assert source.position(("a",), at_key=True) == (2, 25)


def test_numbers_keep_their_kind() -> None:
    integer, whole, small = parse_json("[5, 5.0, -2e-3]").data
    assert isinstance(integer, int)
    assert isinstance(whole, float)
    assert math.isclose(small, -0.002)


def test_a_million_characters_in_a_string_are_read() -> None:
    text = "a" * 10**6
    assert parse_json(f'{{"image": "{text}"}}').data == {"image": text}
