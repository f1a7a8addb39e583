"""The acceptance checklist, line by line, through the real shell and a real worker."""

from __future__ import annotations

import json
import re

import psutil
import pytest
from PIL import Image

from tests.acceptance.conftest import Shell, completed, memory


def assert_transcript(shown: list[str], expected: list[str]) -> None:
    """Each expected line (a regular expression) is shown, whole and in this order."""
    rest = iter(shown)
    for line in expected:
        found = any(re.fullmatch(line, text) for text in rest)
        assert found, f"{line!r} is missing, or not in its place, in:\n" + "\n".join(shown)


FIRST_RUN = [
    "Starting worker process...",
    "Worker process started",
    "Running workflow: FluxDev",
    r"Workflow file changed - reloading models\.\.\.",
    r"Loading workflow from FluxDev\.json",
    "Models loaded for workflow: FluxDev",
    "Executing workflow: FluxDev",
]
CACHED_RUN = [
    "Running workflow: FluxDev",
    "Reusing loaded models from cache",
    "Executing workflow: FluxDev",
]


# ------------------------------------------------------------------ basic functionality


def test_the_first_run_loads_and_the_next_ones_reuse(shell: Shell):
    shell.session.client.stop()
    shell("load FluxDev")
    shell('arg prompt="test"')
    assert_transcript(shell("run"), [*FIRST_RUN, *completed(1)])
    for number in (2, 3):
        shown = shell.raw("run")
        assert_transcript(shown, [*CACHED_RUN, *completed(number)])
        assert not any(line.startswith(("  loading", "Loading")) for line in shown)


def test_the_images_are_there_and_equal_for_equal_seeds(shell: Shell):
    shell("load FluxDev")
    shell("run")
    shell("run")
    first, second = shell.outputs()
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (64, 64)


def test_loading_a_workflow_loads_no_model_and_starts_no_worker(unused_shell: Shell):
    shown = "\n".join(unused_shell("load FluxDev"))
    assert "num_inference_steps" in shown
    assert "FLUX.1-dev" in shown


# ------------------------------------------------------------------ memory


def test_memory_before_a_run_says_that_there_is_no_worker(unused_shell: Shell):
    for command in ("memory", "clear"):
        assert any("no worker" in line.lower() for line in unused_shell(command))


def test_memory_shows_the_device_and_each_component(shell: Shell):
    shell("load FluxDev")
    shell("run")
    shown = shell("memory")
    assert_transcript(shown, memory(1))
    assert {"FluxTransformer2DModel", "T5EncoderModel", "AutoencoderKL"} <= set(
        " ".join(shown).split()
    )


def test_clear_frees_the_models_and_the_next_run_loads_again(shell: Shell):
    shell("load FluxDev")
    shell("run")
    cleared = [
        r"Clearing GPU memory\.\.\.",
        "GPU Memory Status:",
        "  Device: CPU",
        r"  Allocated: 0\.0 MB",
        r"  Reserved: 0\.0 MB",
        r"  Free: .*",
        r"  Total: .*",
        "  Runs in this session: 0",
        "GPU memory cleared successfully",
    ]
    assert_transcript(shell("clear"), cleared)
    assert_transcript(shell("memory"), cleared[1:8])
    shown = shell("run")
    assert_transcript(shown, [FIRST_RUN[2], *FIRST_RUN[4:], *completed(1)])
    assert not [line for line in shown if line.startswith("Workflow file changed")]


def test_clear_hard_replaces_the_process(shell: Shell):
    shell("load test")
    shell("run")
    pid = shell.pid
    shell("clear --hard")
    assert_transcript(shell("run"), ["Models loaded for workflow: test", *completed(1)])
    assert shell.pid != pid


# ------------------------------------------------------------------ file changes

CHANGED = [
    "Running workflow: FluxDev",
    r"Workflow file changed - reloading models\.\.\.",
    r"Loading workflow from FluxDev\.json",
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"num_inference_steps": 2', '"num_inference_steps": 3'),
        ('"prompt": "', '"prompt": "another '),
        ("\n", "\n\n"),
    ],
    ids=["steps", "prompt", "whitespace"],
)
def test_an_edit_that_changes_no_model_is_seen_and_loads_nothing(shell: Shell, old, new):
    shell("load FluxDev")
    shell("run")
    shell.edit("FluxDev", old, new)
    shown = shell.raw("run")
    kept = r"Kept 6 of 6 components \(.*\); nothing to reload"
    assert_transcript(shown, [*CHANGED, kept, *completed(2)])
    assert not any(line.startswith("  loading") for line in shown)


def test_another_scheduler_loads_nothing(shell: Shell):
    shell("load test")
    shell("run")
    scheduler = '"scheduler": {"configuration": {"scheduler_type": "EulerDiscreteScheduler"}},'
    shell.edit("test", '"pipeline": {', '"pipeline": {' + scheduler)
    assert_transcript(shell("run"), [r"Kept 4 of 4 components \(.*\); nothing to reload"])
    first, second = shell.outputs()
    assert first.read_bytes() != second.read_bytes()


def test_another_dtype_of_one_component_reloads_that_one(shell: Shell):
    """The run itself fails, as the bare call does: this UNet takes no bfloat16 beside float32."""
    shell("load test")
    shell("run")
    block = '"text_encoder": {"torch_dtype": "torch.bfloat16"}, "component_type"'
    kept = r"Kept 3 of 4 components \(tokenizer, unet, vae\); reloading: text_encoder"
    loaded = "Models loaded for workflow: test"
    shell.edit("test", '"component_type"', block)
    assert_transcript(shell("run"), [kept, loaded, "error: .*BFloat16.*"])
    shell.edit("test", block, '"component_type"')
    assert_transcript(shell("run"), [kept, loaded, *completed(2)])
    first, second = shell.outputs()
    assert first.read_bytes() == second.read_bytes()


def test_a_broken_edit_is_refused_with_its_place_and_nothing_is_lost(shell: Shell):
    shell("load test")
    shell("run")
    before = (shell.folder / "test.json").read_text()
    shell.edit("test", '"id"', '"id')
    shown = "\n".join(shell("run"))
    assert re.search(r"error: test\.json:2:\d+: ", shown)
    assert shell.code == 3
    (shell.folder / "test.json").write_text(before)
    assert "Reusing loaded models from cache" in shell("run")


# ------------------------------------------------------------------ switching


def test_switching_shuts_the_worker_down_and_the_next_run_starts_another(shell: Shell):
    shell("load FluxDev")
    shell("run")
    pids = [shell.pid]
    for name in ("sdxl", "FluxDev"):
        assert "Shutting down worker process..." in shell(f"load {name}")
        starts = ["Starting worker process...", "Worker process started"]
        running = [f"Running workflow: {name}", f"Models loaded for workflow: {name}"]
        assert_transcript(shell("run"), [*starts, *running, *completed(1)])
        pids.append(shell.pid)
    assert len(set(pids)) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids[:2])


def test_loading_the_same_workflow_again_keeps_its_models(shell: Shell):
    shell("load test")
    shell("run")
    assert "Shutting down worker process..." not in shell("load test")
    assert "Reusing loaded models from cache" in shell("run")


# ------------------------------------------------------------------ errors


def test_a_run_that_fails_keeps_the_worker_and_its_models(shell: Shell):
    shell("load test")
    shell("run")
    pid = shell.pid
    shown = shell("run width=63")
    assert shell.code == 1
    errors = [line for line in shown if "divisible by 8" in line]
    assert len(errors) == 1
    assert "Traceback" not in "\n".join(shown)
    assert re.fullmatch(r"full trace: trace \d+", shown[-1])
    assert "ValueError" in "\n".join(shell(shown[-1].removeprefix("full trace: ")))
    assert "Reusing loaded models from cache" in shell("run")
    assert shell.pid == pid


def test_a_failed_first_run_keeps_what_it_loaded(shell: Shell):
    shell("load test")
    shell("arg width=63")
    shell("run")
    shell("arg width=64")
    assert "Reusing loaded models from cache" in shell("run")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("run num_inference_steps=abc", 2, "num_inference_steps must be an integer"),
        ("arg num_inference_steps=abc", 2, "num_inference_steps must be an integer"),
        ("arg promt=x", 2, "did you mean 'prompt'"),
        ("load nothing", 2, "nothing"),
        ("laod test", 2, "did you mean 'load'"),
        ('arg prompt="open', 2, "never closed"),
    ],
)
def test_what_was_mistyped_is_named_and_nothing_is_lost(shell: Shell, line, code, message):
    shell("load test")
    shell("run")
    shown = "\n".join(shell(line))
    assert shell.code == code
    assert message in shown
    assert "Traceback" not in shown
    assert "Reusing loaded models from cache" in shell("run")


def test_a_run_without_a_workflow_says_what_to_do(unused_shell: Shell):
    shown = unused_shell("run")
    assert unused_shell.code == 2
    assert "no workflow is loaded" in shown[0]
    assert "load NAME" in "\n".join(shown)


# ------------------------------------------------------------------ leaks


def test_ten_runs_keep_the_memory_flat(shell: Shell):
    shell("load test")
    shell("run")
    worker = psutil.Process(shell.pid)
    allocated = [line for line in shell("memory") if "Allocated" in line]
    before = worker.memory_info().rss
    for _ in range(10):
        shell("run")
        assert [line for line in shell("memory") if "Allocated" in line] == allocated
    assert worker.memory_info().rss - before < 100 << 20


def test_fifty_runs_in_a_row_use_one_worker_and_leave_nothing_open(shell: Shell):
    shell("load test")
    for _ in range(5):
        shell("run")
    pid, here = shell.pid, psutil.Process()
    worker = psutil.Process(pid)
    before = (worker.num_fds(), here.num_fds(), here.num_threads())  # another test's may end
    for _ in range(45):
        shell("run")
        assert shell.code == 0
    assert_transcript(shell("memory"), memory(50))
    assert shell.pid == pid
    after = (worker.num_fds(), here.num_fds(), here.num_threads())
    assert all(now <= then for now, then in zip(after, before, strict=True))
    assert all(child.status() != psutil.STATUS_ZOMBIE for child in here.children())


# ------------------------------------------------------------------ by hand


def test_status_and_help_tell_the_truth(shell: Shell):
    shell("load test")
    shell("arg width=128")
    shown = "\n".join(shell("status"))
    assert "test" in shown
    assert "width" in shown
    assert "run" in "\n".join(shell("help"))


def test_run_json_records_what_made_the_image(shell: Shell):
    shell("load test")
    shell("run seed=11")
    record = json.loads((shell.folder / "outputs/test/0001/run.json").read_text())
    assert record["seed"] == 11
    assert record["workflow"] == "test"
    assert record["outputs"][0]["sha256"]


def test_another_output_folder_that_cannot_be_written_is_named(shell: Shell):
    shell("load test")
    shell("config output_dir=/dev/null/pictures")
    shown = "\n".join(shell("run"))
    assert shell.code != 0
    assert "/dev/null/pictures" in shown
    assert "Traceback" not in shown
