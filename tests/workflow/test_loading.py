from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dw.errors import WorkflowError
from dw.types import Permissions
from dw.workflow import Document, builtin, load_document, parse_document
from dw.workflow.loading import DEEPEST_CHAIN
from tests.workflow.samples import of_task, workflow


def write(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def calling(path: str, **arguments: Any) -> dict[str, Any]:
    return workflow({"name": "sub", "workflow": {"path": path, "arguments": arguments}})


def refusal(path: Path, **options: Any) -> WorkflowError:
    with pytest.raises(WorkflowError) as caught:
        load_document(path, **options)
    return caught.value


CHILD = {**workflow(), "id": "child", "variables": {"prompt": "a", "steps": 5, "image": None}}

# ------------------------------------------------------------------ files


def test_a_file_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", workflow())
    assert load_document(path).path == path


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    mark = b"\xef\xbb\xbf"
    path.write_bytes(mark + json.dumps({**workflow(), "id": 5}).encode())
    assert (refusal(path).problems[0].line, refusal(path).problems[0].column) == (1, 8)
    path.write_bytes(mark + json.dumps(workflow()).encode())
    assert load_document(path).text.startswith("{")


def test_windows_line_ends_keep_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(json.dumps({**workflow(), "id": 5}, indent=1).replace("\n", "\r\n").encode())
    (problem,) = refusal(path).problems
    assert (problem.line, problem.column) == (2, 8)


def test_broken_json_has_its_line_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", '{\n "id" "w"}')
    assert str(refusal(path)) == f"{path}:2:7: expected ':' after the key 'id', found '\"'"


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes('{\n "id": "café"}'.encode("latin-1"))
    assert str(refusal(path)) == (
        f"{path}:2:12: not UTF-8 text: byte 0xe9 at offset 13, which is 'é' in Windows-1252; "
        "save it as UTF-8"
    )


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "w.json"
    assert str(refusal(missing)) == f"cannot read '{missing}': no such file or directory"
    assert str(refusal(tmp_path)) == f"cannot read '{tmp_path}': not a file"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    with path.open("wb") as file:
        file.truncate(51 * 2**20)
    assert str(refusal(path)) == f"cannot read '{path}': larger than 50 MB"


def test_a_device_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.json")
    for path in (tmp_path / "w.json", Path("/dev/zero")):
        assert str(refusal(path)) == f"cannot read '{path}': not a regular file"


def test_json_of_any_depth_is_refused_cleanly(tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", '{"id":' + "[" * 5000)
    assert "nested more than 100 deep" in str(refusal(path))


# ------------------------------------------------------------------ sub-workflows


def test_sub_workflows_are_loaded_beside_their_parent(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "child.json", CHILD)
    document = load_document(write(tmp_path / "w.json", calling("parts/child.json", prompt="b")))
    assert document.children["parts/child.json"].id == "child"
    assert document.bind().steps[0].workflow is not None


def test_text_finds_its_sub_workflows_by_its_path(tmp_path: Path) -> None:
    write(tmp_path / "child.json", CHILD)
    document = parse_document(json.dumps(calling("child.json")), tmp_path / "w.json")
    assert list(document.children) == ["child.json"]


def test_a_missing_sub_workflow_is_named_at_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", calling("child.json"))
    error = refusal(path)
    assert error.message == "workflow file 'child.json' does not exist"
    assert path.read_text()[error.problems[0].column - 1 :].startswith('"child.json"')


def test_problems_of_parent_and_child_come_together(tmp_path: Path) -> None:
    child = write(tmp_path / "child.json", {**CHILD, "id": 5})
    path = write(tmp_path / "w.json", {**calling("child.json"), "seed": "x"})
    assert {each.path for each in refusal(path).problems} == {str(path), str(child)}


def test_a_broken_child_is_placed_in_its_own_file(tmp_path: Path) -> None:
    child = write(tmp_path / "child.json", "{")
    assert refusal(write(tmp_path / "w.json", calling("child.json"))).where == f"{child}:1:2"


def test_warnings_of_a_child_are_the_parents_too(tmp_path: Path) -> None:
    write(tmp_path / "child.json", {**CHILD, "notes": "x"})
    document = load_document(write(tmp_path / "w.json", calling("child.json")))
    assert [each.message for each in document.warnings] == ["unknown key 'notes' is ignored"]


def test_a_cycle_is_named_with_its_chain(tmp_path: Path) -> None:
    write(tmp_path / "b.json", calling("./a.json"))
    path = write(tmp_path / "a.json", calling("b.json"))
    assert refusal(path).message == "a workflow cannot run itself: a.json -> b.json -> a.json"


def test_text_that_was_never_saved_can_still_not_run_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", calling("a.json"))
    with pytest.raises(WorkflowError, match=r"cannot run itself: a\.json -> a\.json"):
        parse_document(json.dumps(calling("a.json")), path)


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    for number in range(DEEPEST_CHAIN + 2):
        write(tmp_path / f"{number}.json", calling(f"{number + 1}.json"))
    assert "sub-workflows are nested more than 16 deep" in str(refusal(tmp_path / "0.json"))


SUB_ARGUMENTS = [
    ({"promt": "b"}, "child has no argument 'promt' (did you mean 'prompt'?)"),
    ({"steps": "many"}, "steps must be an integer, got 'many'"),
    ({"prompt": None}, "prompt must be a string, got null"),
]


@pytest.mark.parametrize(("arguments", "message"), SUB_ARGUMENTS)
def test_arguments_of_a_sub_workflow_must_fit(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    write(tmp_path / "child.json", CHILD)
    assert (
        refusal(write(tmp_path / "w.json", calling("child.json", **arguments))).message == message
    )


def parent(tmp_path: Path, default: Any) -> Path:
    write(tmp_path / "child.json", CHILD)
    data = {**calling("child.json", steps="variable:n"), "variables": {"n": default}}
    return write(tmp_path / "w.json", data)


def test_an_argument_that_is_handed_on_must_fit_the_child(tmp_path: Path) -> None:
    document = load_document(parent(tmp_path, None))
    assert document.bind({"n": 3})
    with pytest.raises(WorkflowError, match=r"steps must be an integer, got 'x' \(argument 'n'\)"):
        document.bind({"n": "x"})


def test_results_may_be_handed_to_a_sub_workflow(tmp_path: Path) -> None:
    write(tmp_path / "child.json", CHILD)
    data = of_task(image="https://x/a.png")
    data["steps"] += calling("child.json", steps="previous_result:t")["steps"]
    assert isinstance(load_document(write(tmp_path / "w.json", data)), Document)


@pytest.mark.parametrize("spelled", ["../child.json", "{}/child.json"])
def test_a_sub_workflow_outside_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    write(tmp_path / "child.json", CHILD)
    name = spelled.format(tmp_path)
    path = write(tmp_path / "inner" / "w.json", calling(name))
    monkeypatch.chdir(path.parent)
    assert refusal(path).message == (
        f"'{name}' is outside of the workflow's folder and the current one; "
        "the setting 'allowed_dirs' allows a folder, 'trust' allows all"
    )
    assert load_document(path, permissions=Permissions(trust=True)).children
    assert load_document(path, permissions=Permissions(allowed_dirs=(tmp_path,))).children
    monkeypatch.chdir(tmp_path)
    assert load_document(path).children


def test_a_folder_or_a_broken_name_is_no_sub_workflow(tmp_path: Path) -> None:
    for name in (".", "\0", "x" * 5000):
        error = refusal(write(tmp_path / "w.json", calling(name)))
        assert error.message == f"workflow file {name!r} does not exist"


# ------------------------------------------------------------------ built-in workflows


@pytest.mark.parametrize("name", ["builtin:test.json", "builtin:test", "test", "test.json"])
def test_a_built_in_workflow_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    document = load_document(write(tmp_path / "w.json", calling(name, prompt="a pear")))
    assert document.children[name].path == builtin.FOLDER / "test.json"


def test_a_file_beside_it_comes_before_the_built_in_one(tmp_path: Path) -> None:
    write(tmp_path / "test.json", CHILD)
    document = load_document(write(tmp_path / "w.json", calling("test")))
    assert document.children["test"].id == "child"


def test_an_unknown_built_in_workflow_is_answered_with_the_nearest(tmp_path: Path) -> None:
    near, far = (
        refusal(write(tmp_path / "w.json", calling(f"builtin:{name}.json"))).message
        for name in ("tset", "../../secret")
    )
    assert near == "unknown built-in workflow 'tset.json' (did you mean 'test'?)"
    assert far.startswith("unknown built-in workflow '../../secret.json'; known are ")


def test_the_arguments_of_a_built_in_workflow_are_checked(tmp_path: Path) -> None:
    error = refusal(write(tmp_path / "w.json", calling("builtin:test.json", promt="a pear")))
    assert error.message == "test has no argument 'promt' (did you mean 'prompt'?)"
