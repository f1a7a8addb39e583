"""The command line: the shell and every program, by both spellings of their names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dw
from dw.__main__ import main
from dw.errors import Bug
from dw.programs import EXIT_CODES, PROGRAMS, exit_code
from dw.types import Diagnostic

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("cache", "config", "data", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("DW_STANDBY", "off")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([*words, "--help"])
    assert left.value.code == 0
    return capsys.readouterr().out


# ------------------------------------------------------------------ help


def test_the_help_of_the_shell_shows_every_program_with_an_example(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = helped(capsys)
    assert text.startswith("usage: dw [OPTION ...] [WORKFLOW]\n       dw PROGRAM ...\n")
    _, listed = text.split("\nprograms, ")
    for line, (name, program) in zip(listed.splitlines()[1:], PROGRAMS.items(), strict=False):
        assert line.split(maxsplit=1) == [name, f"{program.summary}: {program.example}"]
        assert len(line) <= 80
    assert text.endswith(EXIT_CODES)


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_has_one_name_and_an_example(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = helped(capsys, name)
    assert text.startswith(f"usage: dw {name} ")
    assert f"\nexample: {PROGRAMS[name].example}\n" in text
    assert text.endswith(EXIT_CODES)


@pytest.mark.parametrize("name", ["", *PROGRAMS])
def test_python_m_is_another_spelling(capsys: pytest.CaptureFixture[str], name: str) -> None:
    done = python("-m", f"dw.{name or 'repl'}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == helped(capsys, *([name] if name else []))


@pytest.mark.parametrize("name", ["", *PROGRAMS])
def test_each_knows_its_version_and_refuses_what_is_no_option(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    words = [name] if name else []
    with pytest.raises(SystemExit) as left:
        main([*words, "--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"dw {dw.__version__}\n")
    with pytest.raises(SystemExit) as left:
        main([*words, "--no-such-option"])
    assert left.value.code == 2


# ------------------------------------------------------------------ which one runs


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "nothing"), 2),
        (("validate", "nothing", "wrong.json"), 3),
        (("rehearse", "nothing"), 2),
        (("schema",), 0),
    ],
)
def test_both_spellings_have_the_same_exit_code(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int
) -> None:
    Path("wrong.json").write_text("[]")
    name, *rest = words
    other = python("-m", f"dw.{name}", *rest)
    assert main(words) == other.returncode == code
    assert (other.stdout, other.stderr) == capsys.readouterr()


def test_a_bug_in_a_program_is_one_error_line_and_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert exit_code(lambda out, err: 1 // 0) == Bug.exit_code
    message, *trace = capsys.readouterr().err.splitlines()
    assert message.startswith("error: a bug in dw: ZeroDivisionError: ")
    assert trace[0].startswith("Traceback")


@pytest.mark.parametrize("module", ["dw", "dw.repl"])
def test_a_script_runs_by_either_name_of_the_shell(module: str) -> None:
    done = python("-m", module, "-c", "let a=1\nlet")
    assert (done.returncode, done.stdout) == (0, "variable\tvalue\na\t1\n")


def test_a_first_word_that_is_no_program_is_a_workflow(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["nothing", "-c", "status"]) == 2
    assert "unknown workflow 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "name"), [("ruin", "run"), ("vaildate", "validate"), ("rehersal", "rehearse")]
)
def test_a_misspelt_program_is_corrected(
    capsys: pytest.CaptureFixture[str], word: str, name: str
) -> None:
    assert main([word, "examples"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: unknown program or workflow {word!r} (did you mean {name!r}?)",
        "  dw --help   lists the programs",
    ]


def test_an_option_is_no_misspelt_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rehearse", "-c", "config rehearse"]) == 0
    assert "\nrehearse\ton\t" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["ruin.json", "examples/ruin.json", "examples/inner/ruin.json"])
def test_a_workflow_with_nearly_the_name_of_a_program_is_one(
    here: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("[]")
    seen: list[list[str]] = []
    monkeypatch.setattr("dw.repl.app.main", lambda words: seen.append(words) or 0)
    word = path if path.startswith("ruin") else "ruin"
    assert main([word]) == 0
    assert seen == [[word]]


def test_a_broken_config_file_is_named_for_a_misspelt_program(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = here / "config" / "dw" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("=")
    assert main(["ruin"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file}: not valid TOML")


# ------------------------------------------------------------------ imports


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["schema"], {"dw.repl", "dw.validate", "dw.rehearse", "dw.run", "dw.worker", "dw.engine"}),
        (["validate", "-h"], {"dw.repl", "dw.rehearse", "dw.run", "dw.worker", "dw.engine"}),
        (["rehearse", "-h"], {"dw.repl", "dw.validate", "dw.run", "dw.worker", "dw.engine"}),
        (["run", "-h"], {"dw.validate", "dw.rehearse", "dw.engine"}),
        (["--help"], {"dw.validate", "dw.rehearse", "dw.run", "dw.engine", "dw.schema"}),
    ],
)
def test_only_the_chosen_program_is_imported(words: list[str], without: set[str]) -> None:
    code = (
        "import json, sys, dw.__main__, contextlib\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        f"    dw.__main__.main({words!r})\n"
        "print(json.dumps(list(sys.modules)))"
    )
    found = set(json.loads(python("-c", code).stdout))
    assert "dw.programs" in found
    assert not found & without
    assert not {name for name in found if name.split(".")[0] in ("torch", "diffusers", "numpy")}


def test_the_module_that_the_worker_imports_again_is_light() -> None:
    code = "import sys, dw.__main__; print(*(n for n in sys.modules if n.startswith('dw')))"
    assert python("-c", code).stdout.split() == ["dw", "dw.__main__"]


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["run", "FluxDev", "--rehaerse"], "'--rehearse'"),
        (["validate", "examples", "--jsn"], "'--json'"),
        (["--josn"], "'--json'"),
        (["rehearse", "examples", "--output-dri=x"], "'--output-dir'"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert exit_.value.code == 2
    assert f"(did you mean {nearest}?)" in capsys.readouterr().err


def test_an_option_like_no_other_is_named_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["schema", "--zzz"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: --zzz\n")


# ------------------------------------------------------------------ odd files of a folder


def test_odd_files_do_not_end_the_validation_of_their_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is named in its own line, and the exit code is the worst of all."""
    folder = here / "odd"
    folder.mkdir()
    (folder / "a-folder.json").mkdir()
    (folder / "binary.json").write_bytes(b"\x80\x00")
    (folder / "device.json").symlink_to("/dev/zero")
    (folder / "huge.json").touch()
    os.truncate(folder / "huge.json", 51 << 20)
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "nowhere.json").symlink_to("nothing")
    os.mkfifo(folder / "pipe.json")
    (folder / "vanishes.json").write_text("{}")
    (folder / "z-wrong.json").write_text("[]")
    named = dw.programs.named_files

    def vanishing(*arguments: object) -> Iterator[Path]:
        for path in named(*arguments):
            if path.name == "vanishes.json":
                path.unlink()
            yield path

    monkeypatch.setattr("dw.validate.named_files", vanishing)
    assert main(["validate", "odd"]) == 3
    out, err = capsys.readouterr()
    names = [
        re.match(r"\S*odd/([\w-]+)\.json:\d+:\d+: error: ", line)[1] for line in out.splitlines()
    ]
    assert names == [
        *("binary", "device", "huge", "loop", "nowhere", "pipe", "vanishes", "z-wrong"),
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ZeroDivisionError("by zero"), 70, "a bug in dw: ZeroDivisionError: by zero"),
        (OSError(24, "Too many open files"), 5, "cannot go on: Too many open files"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_check_that_fails_is_a_problem_of_its_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    told: str,
    as_json: bool,
) -> None:
    Path("a.json").write_text("{}")
    Path("b.json").write_text("[]")

    def problems(path: Path, _: object) -> tuple[Diagnostic, ...]:
        if path.name == "a.json":
            raise error
        return (Diagnostic(str(path), 1, 1, "not an object"),)

    monkeypatch.setattr("dw.validate._problems", problems)
    assert main(["validate", ".", *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert told in first
    assert "not an object" in second
    assert ("Traceback" in err) is (code == 70)


def test_a_folder_that_cannot_be_read_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("w/inner").mkdir(parents=True)
    Path("w/wrong.json").write_text("[]")
    scan = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert main(["validate", "w"]) == 2
    out, err = capsys.readouterr()
    assert "wrong.json" in out
    assert err == "error: cannot read 'w/inner': Permission denied\n"
