"""What a worker is doing, at any time."""

import os
import signal

import pytest

from dw.events import Executing, Loading, Stepped
from dw.worker.process.stack import crash_site, summarize
from tests.worker.conftest import a_run

LIVE = """\
Thread 0x00007f12 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/dw/dw/worker/serve.py", line 71 in _listen

Current thread 0x00007f34 (most recent call first):
  File "/env/torch/nn/functional.py", line 5101 in scaled
  File "{path}", line 2385 in {function}
  File "/env/torch/nn/modules/module.py", line 1562 in _call_impl
  File "/env/diffusers/pipelines/flux/pipeline_flux.py", line 906 in __call__
  File "/dw/dw/worker/bootstrap.py", line 75 in main
"""
CRASH = """\
Fatal Python error: Segmentation fault

Thread 0x00007f12 (most recent call first):
  File "/dw/dw/worker/bootstrap.py", line 75 in main

Current thread 0x00007f34 (most recent call first):
  File "/env/a.py", line 1 in inner
  File "/env/b.py", line 2 in outer

Extension modules: numpy (total: 1)
"""


def until(client, event_type):
    handle = client.submit(a_run(client))
    next(event for event in handle if isinstance(event, event_type))
    return handle


def line_of(client, part):
    """The line, as soon as it says `part`."""
    while part not in (line := client.where().line):
        pass
    return line


# ---------------------------------------------------------------- a stack in one line


@pytest.mark.parametrize(
    ("path", "function", "place"),
    [
        ("/env/diffusers/models/attention_processor.py", "__call__", "attention"),
        ("/env/transformers/integrations/sdpa_attention.py", "sdpa", "attention"),
        ("/env/diffusers/models/resnet.py", "forward", "a resnet block"),
        ("/env/diffusers/models/unets/unet_2d_blocks.py", "forward", "the unet"),
        ("/env/safetensors/torch.py", "load_file", "safetensors"),
        ("/env/diffusers/models/autoencoders/vae.py", "forward", "the vae"),
        ("C:\\\\env\\\\diffusers\\\\schedulers\\\\ddim.py", "step", "the scheduler"),
        ("/home/me/my_node.py", "compute", "compute (my_node.py:2385)"),
    ],
)
def test_the_innermost_telling_frame_names_the_place(path, function, place):
    stack = LIVE.format(path=path, function=function)
    assert summarize("gen: denoise step 14/30", stack) == f"gen: denoise step 14/30, in {place}"


def test_without_a_stack_the_progress_is_all_there_is():
    assert summarize("loading gen.unet (2 of 5)", "") == "loading gen.unet (2 of 5)"


def test_a_crash_site_is_that_of_the_thread_that_crashed():
    assert crash_site(CRASH) == "inner (a.py:1), from outer (b.py:2)"
    assert crash_site("") == crash_site(LIVE.replace("Current thread", "Thread")) == ""


# ---------------------------------------------------------------- the real thing


def test_while_the_gil_is_held_the_line_says_where(make_client):
    client = make_client("holds_the_gil", silence_s=0.2)
    until(client, Executing)
    line = line_of(client, "Python has not responded for 0 s")
    assert line.startswith("loading gen.vae (1 of 1), in step (holds_the_gil.py:")
    assert "holds_the_gil.py" in client.where().stack


def test_during_a_load_the_line_names_the_component(make_client):
    client = make_client("loads_slowly")
    until(client, Loading)
    assert "loading gen.vae (1 of 1), in load (loads_slowly.py:" in line_of(client, "in load")


def test_a_stopped_process_is_said_to_be_stopped(make_client):
    client = make_client("obedient")
    until(client, Stepped)
    pid = client.status().pid
    os.kill(pid, signal.SIGSTOP)
    assert f"kill -CONT {pid} lets it go on" in line_of(client, "the process is stopped")
    os.kill(pid, signal.SIGCONT)


def test_an_idle_worker_is_idle_and_without_one_there_is_nothing_to_say(make_client):
    client = make_client("obedient")
    assert client.where() is None
    client.submit(a_run(client)).result()
    assert client.where().line == "idle"


def test_a_question_for_the_stack_never_ends_a_worker_that_boots(make_client):
    client = make_client("boots_slowly")
    handle = client.submit(a_run(client))
    assert client.where().line.startswith("starting")
    assert type(handle.result()).__name__ == "Finished"


# ---------------------------------------------------------------- the two speeds of liveness


def test_a_beat_is_no_event_of_anybodys_and_tells_the_memory(make_client):
    client = make_client("obedient")
    events = list(client.submit(a_run(client)))
    assert not any(type(event).__name__ == "Heartbeat" for event in events)
    while client.status().rss is None:
        pass
    assert client.status().rss == 64 << 20
    assert client.status().silent_s is None


def test_silence_is_no_death(make_client):
    client = make_client("stops_itself", silence_s=0.1)
    until(client, Executing)
    while client.status().silent_s is None:
        pass
    assert client.status().state == "running"


def test_the_standby_beats_too(make_client):
    client = make_client("obedient", standby=True)
    while client.status().standby_rss is None:
        pass
    assert client.status().standby_rss == 64 << 20


def test_restarts_in_a_row_are_counted(make_client):
    client = make_client("kills_itself")
    for number in (1, 2):
        client.submit(a_run(client)).result()
        assert client.status().restarts == number
