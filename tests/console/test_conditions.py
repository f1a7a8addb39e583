"""Programs on a machine that refuses something: the exit code, one sentence, no traceback.

Real processes, each under one condition: a disk that is full or read-only, a limit of the user, a
folder that is gone, a standard stream that is closed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.console import limits
from tests.console.limits import Prepare
from tests.disks import full_disk, read_only_disk
from tests.repl.screen import Screen
from tests.repl.test_scripts import ROOT


@dataclass
class Condition:
    """What is different for one program: prepared in its process, in its environment, in its
    streams, in its folder."""

    prepare: Prepare | None = None  # for another user
    limits: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str | None] = field(default_factory=dict)
    redirection: str = ""
    disk: Any = None  # full_disk or read_only_disk
    mounted: str = ""
    is_in_a_deleted_folder: bool = False


HOME_VARIABLES: Mapping[str, str | None] = dict.fromkeys(
    ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
)
CONDITIONS = {
    "read-only home": Condition(environment=HOME_VARIABLES, disk=read_only_disk, mounted="home"),
    "full home": Condition(environment=HOME_VARIABLES, disk=full_disk, mounted="home"),
    "no home": Condition(environment={**HOME_VARIABLES, "HOME": "/proc/no/such/home"}),
    "full temporary folder": Condition(disk=full_disk, mounted="tmp"),
    "no temporary folder": Condition(environment={"TMPDIR": "/proc/no/such/folder"}),
    "full outputs": Condition(disk=full_disk, mounted="outputs"),
    "read-only outputs": Condition(disk=read_only_disk, mounted="outputs"),
    "4 descriptors": Condition(limits={"RLIMIT_NOFILE": 4}),
    "8 descriptors": Condition(limits={"RLIMIT_NOFILE": 8}),
    "12 descriptors": Condition(limits={"RLIMIT_NOFILE": 12}),
    "16 descriptors": Condition(limits={"RLIMIT_NOFILE": 16}),
    "64 descriptors": Condition(limits={"RLIMIT_NOFILE": 64}),
    "1 process": Condition(limits.processes(1)),
    "2 processes": Condition(limits.processes(2)),
    "files of 0 bytes": Condition(limits={"RLIMIT_FSIZE": 0}),
    "files of 20 kB": Condition(limits={"RLIMIT_FSIZE": 20_000}),
    "deleted folder": Condition(is_in_a_deleted_folder=True),
    "closed input": Condition(redirection="<&-"),
    "closed output": Condition(redirection=">&-"),
    "closed errors": Condition(redirection="2>&-"),
    "closed streams": Condition(redirection="<&- >&- 2>&-"),
    "full output": Condition(redirection=">/dev/full"),
    "full errors": Condition(redirection="2>/dev/full"),
}
ON_A_WORKER = ("-m", "tests.console.program", "obedient")
PROGRAMS = {
    "help": ("-m", "dw", "--help"),
    "schema": ("-m", "dw", "schema"),
    "config": ("-m", "dw", "-c", "config"),
    "config -s": ("-m", "dw", "-c", "config timeout=7 -s"),
    "history": ("-m", "dw", "-c", "history"),
    "show": ("-m", "dw", "-c", "show"),
    "memory": ("-m", "dw", "-c", "memory"),
    "load": ("-m", "dw", "-c", "load FluxDev"),
    "script": (*ON_A_WORKER, "shell", "FluxDev", "-c", "run"),
    "run": (*ON_A_WORKER, "run", "FluxDev"),
}
FULL, READ_ONLY = "No space left on device", "Read-only file system"
DELETED = r"error: the current folder was deleted\n  cd to one that exists, and start again"
NO_OUTPUT = r"error: cannot write the output: standard output is closed"
NO_FILES = "no process could be started: too many open files; ulimit -n 1024   allows more"
TOO_LARGE = r"File too large\n  ulimit -f   shows the largest file"
ELSEWHERE = r"\n  XDG_CONFIG_HOME=FOLDER   names another folder"
NO_THREAD = r"cannot start a thread: Resource temporarily unavailable\n  ulimit -u   shows how many"

GOOD = (0, "")
CELLS: dict[str, dict[str, tuple[int, str]]] = {
    "read-only home": {
        "config -s": (1, READ_ONLY + ELSEWHERE),
        **dict.fromkeys(("config", "history", "run"), GOOD),
    },
    "full home": {
        "config -s": (5, FULL + ELSEWHERE),
        **dict.fromkeys(("config", "history", "run"), GOOD),
    },
    "no home": {
        "config -s": (1, "No such file or directory" + ELSEWHERE),
        **dict.fromkeys(("config", "history", "run"), GOOD),
    },
    "full temporary folder": dict.fromkeys(("run", "config -s"), GOOD),
    "no temporary folder": dict.fromkeys(("run", "config -s"), GOOD),
    "8 descriptors": {
        **dict.fromkeys(("schema", "config -s", "history", "load"), GOOD),
        **dict.fromkeys(("run", "script"), (4, NO_FILES)),
    },
    "12 descriptors": {"run": (4, NO_FILES)},
    "16 descriptors": {"run": (4, NO_FILES)},
    "64 descriptors": {"run": GOOD, "script": GOOD},
    "1 process": {"schema": GOOD, "history": (5, NO_THREAD), "run": (5, NO_THREAD)},
    "2 processes": {
        "history": GOOD,
        "run": (4, "no process could be started: resource temporarily unavailable; ulimit -u"),
    },
    "files of 0 bytes": {
        **dict.fromkeys(("config", "history", "run", "script"), GOOD),
        "config -s": (5, TOO_LARGE),
    },
    "deleted folder": {
        **dict.fromkeys(("help", "schema", "config", "memory"), GOOD),
        **dict.fromkeys(("history", "show", "load", "script", "run"), (2, DELETED)),
    },
    "closed input": dict.fromkeys(("config", "load", "script", "run"), GOOD),
    "closed output": {
        **dict.fromkeys(("schema", "config", "history", "memory"), (141, NO_OUTPUT)),
        **dict.fromkeys(("config -s", "load", "script", "run"), GOOD),
    },
    "closed errors": dict.fromkeys(("schema", "history", "load", "script", "run"), GOOD),
    "closed streams": {
        **dict.fromkeys(("schema", "config", "history"), (141, "")),
        **dict.fromkeys(("load", "script", "run"), GOOD),
    },
    "full output": {
        **dict.fromkeys(("help", "schema", "config", "history", "memory"), (5, FULL)),
        **dict.fromkeys(("load", "script", "run"), GOOD),
    },
    "full errors": dict.fromkeys(("schema", "history", "load", "script", "run"), GOOD),
}


@contextmanager
def under(condition: Condition, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a program under a condition, with the environment of this process for it."""
    if condition.prepare and (sys.platform != "linux" or os.geteuid() != 0):
        pytest.skip("only root can be another user")
    (folder / "home").mkdir()
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("TMPDIR", str(folder / "tmp" if condition.mounted == "tmp" else "/tmp"))
    monkeypatch.setenv("DW_STANDBY", "off")
    for name, value in condition.environment.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        if condition.disk:
            stack.enter_context(condition.disk(folder / condition.mounted))
        if not condition.is_in_a_deleted_folder:
            yield folder
            return
        monkeypatch.setenv("DW_WORKFLOW_DIR", str(folder / "examples"))
        (folder / "gone").mkdir()
        yield folder / "gone"


def ended(words: tuple[str, ...], condition: Condition, here: Path) -> Any:
    def prepare() -> None:
        if condition.is_in_a_deleted_folder:
            here.rmdir()
        for name, value in condition.limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))
        if condition.prepare:
            condition.prepare()

    shell = ("sh", "-c", f'exec "$@" {condition.redirection}', "sh")
    return subprocess.run(
        [*(shell if condition.redirection else ()), sys.executable, *words],
        cwd=here,
        preexec_fn=prepare,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_told(err: str, told: str) -> None:
    """One sentence, whatever else was on its way."""
    assert "Traceback" not in err
    assert "a bug in dw" not in err
    assert len(re.findall("error: ", err)) == bool(told), err
    assert re.search(told, err), err


@pytest.mark.parametrize(
    ("condition", "program"),
    [(name, program) for name, told in CELLS.items() for program in told],
)
def test_the_exit_code_and_one_sentence_tell_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, condition: str, program: str
) -> None:
    code, told = CELLS[condition][program]
    with under(CONDITIONS[condition], folder, monkeypatch) as here:
        done = ended(PROGRAMS[program], CONDITIONS[condition], here)
    assert done.returncode == code, done.stderr
    if program != "help":
        assert_told(done.stderr, told)


@pytest.mark.parametrize("condition", ["read-only home", "full home", "no home"])
def test_a_history_that_cannot_be_kept_is_told_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    with under(CONDITIONS[condition], folder, monkeypatch):
        with Screen([sys.executable, *ON_A_WORKER, "shell"]) as screen:
            screen.wait_for("dw>")
            screen.type("let a=1\rlet b=2\r")
            screen.wait_for("dw>", count=3)
            screen.type("exit\r")
            assert screen.wait() == 0
        told = "warning: the lines that you type are not kept for the next sessions:"
        assert "".join(screen.text.split()).count("".join(told.split())) == 1


# ------------------------------------------------------------------ programs with the engine

STREAMS = {
    "closed input": (None, "out", "err"),
    "closed output": ("/dev/null", None, "err"),
    "closed errors": ("/dev/null", "out", None),
    "closed streams": (None, None, None),
    "full output": ("/dev/null", "/dev/full", "err"),
    "full errors": ("/dev/null", "out", "/dev/full"),
}
WITH_THE_ENGINE = {
    "validate": ("validate", "examples/FluxDev.json"),
    "rehearse": ("rehearse", "examples/FluxDev.json", "-o", "outputs"),
}
STORE = r"cannot make the stand-ins in \S+: {}; free the disk or .*XDG_CACHE_HOME names another one"
HEAVY_CELLS: dict[str, dict[str, tuple[int, str]]] = {
    "read-only home": {"validate": GOOD, "rehearse": (1, STORE.format(READ_ONLY))},
    "full home": {"validate": GOOD, "rehearse": (5, STORE.format(FULL))},
    "no home": {"validate": GOOD, "rehearse": (1, STORE.format("No such file or directory"))},
    "full temporary folder": dict.fromkeys(WITH_THE_ENGINE, GOOD),
    "full outputs": {"rehearse": (5, "the output folder 'outputs' has room for 0 bytes")},
    "read-only outputs": {"rehearse": (1, f"cannot write '.*outputs/FluxDev': {READ_ONLY}")},
    "4 descriptors": {"rehearse": (5, "[Tt]oo many open files.*ulimit -n 1024")},
    "12 descriptors": dict.fromkeys(WITH_THE_ENGINE, GOOD),
    "files of 0 bytes": {"validate": GOOD, "rehearse": (5, "File too large.*ulimit -f")},
    "files of 20 kB": {"rehearse": (5, r"File too large \(os error 27\).*ulimit -f")},
    "deleted folder": dict.fromkeys(WITH_THE_ENGINE, (2, DELETED)),
    "closed output": dict.fromkeys(WITH_THE_ENGINE, (141, NO_OUTPUT)),
    "closed errors": dict.fromkeys(WITH_THE_ENGINE, GOOD),
    "closed streams": {"validate": (141, "")},
    "full output": dict.fromkeys(WITH_THE_ENGINE, (5, FULL)),
    "full errors": dict.fromkeys(WITH_THE_ENGINE, GOOD),
}


@contextmanager
def pipe(path: Path) -> Iterator[Callable[[], str]]:
    """A named pipe, no file: limits on the size of files do not count. Yields what reads it."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield lambda: os.read(reader, 1 << 16).decode()
    finally:
        os.close(reader)


@pytest.fixture(scope="module")
def zygote() -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-m", "tests.console.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@pytest.mark.parametrize(
    ("condition", "program"),
    [(name, program) for name, told in HEAVY_CELLS.items() for program in told],
)
def test_the_programs_of_the_engine_tell_it_as_well(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    zygote: subprocess.Popen[str],
    condition: str,
    program: str,
) -> None:
    code, told = HEAVY_CELLS[condition][program]
    where = CONDITIONS[condition]
    streams = STREAMS.get(condition, ("/dev/null", "out", "err"))
    with (
        under(where, folder, monkeypatch) as here,
        pipe(folder / "out") as read_out,
        pipe(folder / "err") as read_err,
    ):
        call = {
            "words": WITH_THE_ENGINE[program],
            "environment": {**os.environ, "COLUMNS": "1000"},
            "folder": str(here),
            "deletes_folder": where.is_in_a_deleted_folder,
            "streams": [name and str(folder / name) for name in streams],
            "limits": where.limits,
        }
        zygote.stdin.write(json.dumps(call) + "\n")
        zygote.stdin.flush()
        done = int(zygote.stdout.readline())
        out, err = read_out(), read_err()
    assert done == code, out + err
    assert "Traceback" not in err
    assert "a bug in dw" not in out + err
    assert re.search(told, out + err, re.DOTALL), out + err
