"""What the SDK would do here, and whether a job of the platform would ever be taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.__main__ import main
from dw.errors import UsageError
from dw.runpod.mode import choose_mode

URL = "http://127.0.0.1:1/job-take/$ID?gpu=none"
PLATFORM = {
    "RUNPOD_WEBHOOK_GET_JOB": URL,
    "RUNPOD_WEBHOOK_POST_OUTPUT": "http://127.0.0.1:1/job-done/$ID?gpu=none",
    "RUNPOD_WEBHOOK_PING": "http://127.0.0.1:1/ping/$RUNPOD_POD_ID",
    "RUNPOD_AI_API_KEY": "key",
    "RUNPOD_POD_ID": "pod",
}
JOB = '{"input": {"prompt": "a"}}'


@pytest.mark.parametrize(
    ("environment", "options", "name"),
    [
        (PLATFORM, {}, "queue"),
        ({}, {"serves_api": True}, "api"),
        ({"RUNPOD_REALTIME_PORT": "8080"}, {}, "realtime"),
        ({}, {"test_input": JOB}, "once"),
    ],
)
def test_each_mode_says_why(
    environment: dict[str, str], options: dict[str, Any], name: str
) -> None:
    mode = choose_mode(environment, **options)
    assert (mode.name, mode.warnings) == (name, ())
    assert mode.why


def test_a_file_holds_the_job_where_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "test_input.json").write_text(JOB)
    mode = choose_mode({}, folder=tmp_path)
    assert (mode.name, mode.job) == ("once", json.loads(JOB))


@pytest.mark.parametrize(
    ("environment", "options", "told"),
    [
        (PLATFORM, {"serves_api": True}, "--rp_serve_api with RUNPOD_WEBHOOK_GET_JOB set: "),
        (PLATFORM, {"test_input": JOB}, "--test-input with RUNPOD_WEBHOOK_GET_JOB set: "),
        (PLATFORM | {"RUNPOD_REALTIME_PORT": "80"}, {}, "RUNPOD_REALTIME_PORT with RUNPOD_WEBHOOK"),
        (PLATFORM | {"RUNPOD_WEBHOOK_GET_JOB": ""}, {}, "must be a URL, or no job would be taken"),
        (PLATFORM | {"RUNPOD_WEBHOOK_GET_JOB": "queue"}, {}, "must be a URL, or no job would"),
        (PLATFORM | {"RUNPOD_WEBHOOK_GET_JOB": "http://a/job-take/b"}, {}, "must have a query"),
        (PLATFORM | {"RUNPOD_WEBHOOK_POST_OUTPUT": ""}, {}, "or no result would arrive, got ''"),
        (PLATFORM, {"streams": True}, "RUNPOD_WEBHOOK_POST_STREAM must be a URL"),
        ({"RUNPOD_REALTIME_PORT": "http"}, {}, "RUNPOD_REALTIME_PORT must be a port, got 'http'"),
        ({}, {}, "there is no queue: RUNPOD_WEBHOOK_GET_JOB is not set"),
        ({}, {"serves_api": True, "test_input": JOB}, "exclude each other"),
        ({}, {"test_input": "{"}, "--test-input is not valid JSON: "),
        ({}, {"test_input": '{"prompt": "a"}'}, '--test-input must be an object with an object "i'),
        ({}, {"test_input": '{"input": 3}'}, '--test-input must be an object with an object "i'),
    ],
)
def test_it_refuses_by_name_where_no_job_would_be_taken(
    tmp_path: Path, environment: dict[str, str], options: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose_mode(environment, folder=tmp_path, **options)
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("RUNPOD_WEBHOOK_GET_JOB", "http://a/take/b?c", "the platform cannot stop single jobs"),
        ("RUNPOD_AI_API_KEY", "", "no heartbeat: RUNPOD_AI_API_KEY not set"),
    ],
)
def test_what_is_not_fatal_is_a_warning(name: str, value: str, warning: str) -> None:
    (found,) = choose_mode(PLATFORM | {name: value}).warnings
    assert warning in found


# ------------------------------------------------------------------ the program


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DW_OUTPUT_DIR", str(tmp_path / "outputs"))


@pytest.mark.usefixtures("here")
def test_check_says_which_mode_would_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in PLATFORM.items():
        monkeypatch.setenv(name, value)
    assert main(["runpod", "check"]) == 0
    assert capsys.readouterr().out == (
        "mode: queue\n"
        "why: RUNPOD_WEBHOOK_GET_JOB is set: jobs are taken from the platform\n"
        "initialization: ok\n"
    )
    assert main(["runpod", "check", "--rp_serve_api"]) == 2
    assert "so the handler would never be called" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--require-env", "SUPABASE_URL"], "SUPABASE_URL environment variable is required"),
        (["--require-cuda"], "CUDA is not available. This worker requires a GPU."),
    ],
)
def test_check_gives_the_answer_of_the_initialization(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    error: str,
) -> None:
    monkeypatch.setattr("dw.jobs.requirements.free_gpu_bytes", dict)
    assert main(["runpod", "check", "--json", "--test-input", JOB, *flags]) == 1
    told = json.loads(capsys.readouterr().out)
    assert list(told.items())[:3] == [
        ("success", False),
        ("error", error),
        ("error_type", "initialization_error"),
    ]


@pytest.mark.usefixtures("here")
def test_a_folder_that_cannot_be_written_fails_the_initialization(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    monkeypatch.setenv("DW_OUTPUT_DIR", "file/outputs")
    assert main(["runpod", "check", "--json", "--test-input", JOB]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error.startswith("Unexpected error during worker initialization: ")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("flag", ["--rp_serv_api", "--rp_debugger", "--port=8000"])
def test_a_flag_that_it_does_not_know_is_refused(
    capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["runpod", "--test-input", JOB, flag])
    assert left.value.code == 2
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--inline", "nan", "--inline must be a number of megabytes, got 'nan'"),
        ("--inline", "-1", "--inline must be a number of megabytes, got '-1'"),
        ("--refresh-after", "1.5", "--refresh-after must be a number from 0, got '1.5'"),
    ],
)
def test_a_value_that_a_flag_does_not_take_is_named(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, told: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["runpod", "check", f"{flag}={value}"])
    assert left.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("flag", "value"), [("--workers", "99"), ("--storage", "ftp://a"), ("--workers", "none")]
)
def test_check_refuses_what_a_start_would(
    capsys: pytest.CaptureFixture[str], flag: str, value: str
) -> None:
    assert main(["runpod", "check", "--test-input", JOB, flag, value]) == 2
    assert repr(value) in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_a_default_workflow_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["runpod", "check", "--test-input", JOB, "--workflow", "nothing"]) == 2
    assert "unknown workflow 'nothing'" in capsys.readouterr().err
