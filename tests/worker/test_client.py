import re
import signal
import threading
import time

import pytest

from dw.errors import WorkerLost
from dw.events import (
    VERSION,
    CancelRequested,
    Check,
    Checked,
    Clear,
    Cleared,
    Died,
    Executing,
    Finished,
    GraceExpired,
    Launched,
    Launching,
    LogLine,
    Mapped,
    Prepare,
    Prepared,
    Report,
    Reported,
    RunCancelled,
    RunTimedOut,
    Stepped,
    Warned,
)
from dw.worker.handle import INTERRUPTED
from tests.worker.conftest import a_run, obey_from_now_on, workers

TOLD_WITHIN_S = 0.5


def names(events):
    return [type(event).__name__ for event in events]


def test_the_first_run_starts_a_worker_and_ends_with_one_terminal_event(make_client):
    client = make_client("obedient")
    events = list(client.submit(a_run(client)))
    assert names(events) == (
        ["Launching", "Launched", "Loading", "Loaded", "Executing", *["Stepped"] * 4, "Finished"]
    )


def test_the_second_run_uses_the_same_worker(make_client):
    client = make_client("obedient")
    client.submit(a_run(client)).result()
    pid = client.status().pid
    events = list(client.submit(a_run(client)))
    assert client.status().pid == pid
    assert names(events)[0] == "Loading"


def test_runs_submitted_together_go_one_after_the_other(make_client):
    client = make_client("obedient")
    tickets = [client.submit(a_run(client)) for _ in range(3)]
    assert [type(handle.result()) for handle in tickets] == [Finished] * 3
    assert len(workers()) == 1


def test_a_death_is_told_at_once_with_the_last_step_and_the_last_words(make_client):
    client = make_client("kills_itself")
    times = {}
    for event in client.submit(a_run(client)):
        times[type(event)] = time.monotonic()
    assert times[Died] - times[Stepped] < TOLD_WITHIN_S
    assert isinstance(event, Died)
    assert event.last_step == "gen: denoise step 2/4"
    assert event.tail[-1] == "the last words"


def test_a_crash_leaves_its_stack(make_client):
    client = make_client("segfaults")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert "segfaults.py" in died.stack


def test_a_mapped_file_that_is_cut_is_named(make_client, tmp_path):
    weights = tmp_path / "unet.safetensors"
    weights.write_bytes(b"x" * 8192)
    client = make_client("loses_its_file")
    events = list(client.submit(a_run(client, file=str(weights))))
    died = events[-1]
    assert isinstance(died, Died)
    assert (died.kind, died.cause) == (
        "cut-file",
        f"killed by signal {signal.SIGBUS} (SIGBUS): {str(weights)!r} was cut from 8192 to 0 bytes "
        "while it was in use",
    )
    assert not any(isinstance(event, Mapped) for event in events)  # it is for the client only


def test_a_boot_failure_shows_what_was_said(make_client):
    client = make_client("raises_in_boot")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert any("libcudart.so.13" in line for line in died.tail)


def test_a_cancel_stops_the_run_and_keeps_the_worker(make_client):
    client = make_client("obedient")
    handle = client.submit(a_run(client, steps=1000))
    for event in handle:
        if isinstance(event, Stepped) and event.done == 1:
            client.cancel(handle.run_id)
    assert isinstance(event, RunCancelled)
    assert client.status().state == "idle"
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_cancelling_twice_late_or_early_is_harmless(make_client):
    client = make_client("obedient")
    first, second = client.submit(a_run(client)), client.submit(a_run(client))
    client.cancel(second.run_id)
    client.cancel(second.run_id)
    client.cancel(9999)
    assert isinstance(first.result(), Finished)
    assert isinstance(second.result(), RunCancelled)
    client.cancel(first.run_id)
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_a_stop_ends_the_run_early_as_if_it_were_done(make_client):
    client = make_client("obedient")
    handle = client.submit(a_run(client, steps=1000))
    events = []
    for event in handle:
        events.append(event)
        if isinstance(event, Stepped) and event.done == 2:
            client.stop_run(handle.run_id)
            client.stop_run(handle.run_id)
    assert names(events).count("StopRequested") == 1
    assert names(events).count("Stepped") < 1000
    assert isinstance(event, Finished)


def test_a_stop_that_comes_early_or_late_is_harmless(make_client):
    client = make_client("obedient")
    first, second = client.submit(a_run(client)), client.submit(a_run(client))
    client.stop_run(second.run_id)
    client.stop_run(9999)
    assert isinstance(first.result(), Finished)
    assert names(second).count("Stepped") == 4
    client.stop_run(first.run_id)
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_a_cancel_says_what_a_step_takes_and_what_a_kill_would_cost(make_client):
    client = make_client("obedient")
    handle = client.submit(a_run(client, steps=1000))
    for event in handle:
        if isinstance(event, Stepped) and event.done == 2:
            client.cancel(handle.run_id)
        if isinstance(event, CancelRequested):
            assert event.step_s > 0
            assert 0.0 < event.reload_s < 1.0


def test_the_end_of_the_grace_is_told_before_the_death(make_client):
    client = make_client("ignores_cancel", grace_s=0.05)
    events = list(client.submit(a_run(client), timeout_s=0.05))
    told = [name for name in names(events) if name not in ("Stepped", "Loading")]
    assert told[-3:] == ["CancelRequested", "GraceExpired", "RunTimedOut"]


def test_the_deadline_cancels_politely_and_keeps_the_models(make_client):
    client = make_client("obedient")
    events = list(client.submit(a_run(client, steps=1000), timeout_s=0.03))
    assert isinstance(events[-2], CancelRequested | Stepped)
    assert isinstance(events[-1], RunTimedOut)
    assert (events[-1].clock, events[-1].keeps_models) == ("deadline", True)
    assert client.status().state == "idle"


def test_the_deadline_kills_who_ignores_it_and_the_next_run_is_served(make_client):
    client = make_client("ignores_cancel", grace_s=0.1)
    for _ in range(2):
        end = client.submit(a_run(client), timeout_s=0.05).result()
        assert isinstance(end, RunTimedOut)
        assert (end.clock, end.keeps_models) == ("deadline", False)


def test_the_deadline_does_not_count_loading_but_the_stall_limit_does(make_client):
    client = make_client("loads_slowly", stall_s=0.3, grace_s=0.1)
    end = client.submit(a_run(client), timeout_s=0.05).result()
    assert isinstance(end, RunTimedOut)
    assert (end.clock, end.last_step) == ("stall", "loading gen.vae (1 of 1)")


def test_a_flood_of_output_is_cut_and_what_was_left_out_is_told_before_the_end(make_client):
    client = make_client("floods_stdout")
    said = [e.text for e in client.submit(a_run(client)) if isinstance(e, LogLine)]
    assert 0 < len(said) < 1000
    assert re.fullmatch(r"\(\d+ more lines in .*worker-\d+\.log\)", said[-1])


def test_who_says_nothing_in_a_run_is_stopped_by_the_stall_limit(make_client):
    client = make_client("says_nothing", stall_s=0.2, grace_s=0.1)
    *events, end = client.submit(a_run(client))
    assert isinstance(end, RunTimedOut)
    assert (end.clock, end.keeps_models, end.last_step) == ("stall", False, None)
    assert [type(event) for event in events[-2:]] == [CancelRequested, GraceExpired]
    obey_from_now_on(client)
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_a_line_of_ten_megabytes_is_cut(make_client):
    client = make_client("writes_a_long_line")
    events = list(client.submit(a_run(client)))
    assert isinstance(events[-1], Finished)
    assert all(len(e.text) < 5000 for e in events if isinstance(e, LogLine))


def test_a_worker_of_another_version_is_refused(make_client):
    client = make_client("speaks_another_version")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert f"version {VERSION + 1} of the protocol" in died.cause
    assert died.kind == "version"


def test_memory_is_reported_during_a_run(make_client):
    client = make_client("obedient")
    for event in client.submit(a_run(client)):
        if isinstance(event, Executing):
            assert isinstance(client.submit(Report(client.next_id())).result(), Reported)
    assert isinstance(event, Finished)


def test_clear_is_answered(make_client):
    client = make_client("obedient")
    client.submit(a_run(client)).result()
    assert isinstance(client.submit(Clear(client.next_id())).result(), Cleared)


@pytest.mark.parametrize("command", [Report, Clear])
def test_without_a_worker_there_is_no_memory_to_speak_of(make_client, command):
    client = make_client("obedient")
    with pytest.raises(WorkerLost, match="no worker is running"):
        client.submit(command(client.next_id()))
    assert workers() == []


def test_stop_waits_until_the_worker_is_gone(make_client):
    client = make_client("obedient")
    client.submit(a_run(client)).result()
    client.stop()
    assert client.status().state == "none"
    assert workers() == []


def test_a_killed_worker_ends_its_run(make_client):
    client = make_client("ignores_cancel")
    for event in client.submit(a_run(client)):
        if isinstance(event, Executing):
            client.kill()
    assert isinstance(event, Died)
    assert event.cause == "killed on request"
    assert event.stuck_at is not None
    assert "ignores_cancel.py" in event.stack


def test_the_memory_of_a_dead_worker_is_seen_to_come_back(make_client):
    """As a driver that takes its time: the meter still misses 12 GB when it is asked first."""
    measures = iter([20 << 30, 8 << 30, 8 << 30])
    client = make_client("kills_itself", meter=lambda: {"GPU-1": next(measures, 20 << 30)})
    assert isinstance(client.submit(a_run(client)).result(), Died)
    obey_from_now_on(client)
    events = list(client.submit(a_run(client)))
    assert isinstance(events[-1], Finished)
    assert not any(isinstance(event, Warned) for event in events)
    assert client.status().gpu_memory.startswith("free again 0.")
    assert next(measures, None) is None


def test_a_meter_that_hangs_stops_nobody(make_client):
    client = make_client("obedient", meter=threading.Event().wait)
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_no_standby_is_made_where_host_memory_is_short(make_client, monkeypatch):
    monkeypatch.setattr("dw.worker.client.SPARE_BYTES", 1 << 60)
    client = make_client("obedient", standby=True)
    assert client.status().standby_pid is None
    assert "MB of memory left" in client.status().standby_trouble
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_the_standby_serves_the_first_run_and_is_made_again(make_client):
    client = make_client("obedient", standby=True)
    standby = None
    while standby is None:
        standby = client.status().standby_pid
    events = list(client.submit(a_run(client)))
    assert isinstance(events[0], Launching)
    assert events[1] == Launched(-1, standby, True)
    while client.status().standby_pid in (None, standby):
        pass


def test_a_run_waits_for_a_standby_that_still_boots(make_client):
    client = make_client("boots_slowly", standby=True)
    assert isinstance(client.submit(a_run(client)).result(), Finished)
    assert len(workers()) <= 2


def test_the_standby_takes_over_after_a_crash(make_client):
    client = make_client("kills_itself", standby=True)
    client.submit(a_run(client)).result()
    standby = None
    while standby is None:
        standby = client.status().standby_pid
    launched = next(e for e in client.submit(a_run(client)) if isinstance(e, Launched))
    assert launched.pid == standby


@pytest.mark.parametrize("standby", [True, False])
def test_background_commands_are_run_by_the_standby_and_start_one_when_needed(make_client, standby):
    client = make_client("obedient", standby=standby)
    checked = client.submit(Check(client.next_id(), "w.json", "{}")).result()
    prepared = client.submit(Prepare(client.next_id(), "w.json", "{}")).result()
    assert (type(checked), type(prepared)) == (Checked, Prepared)
    assert client.status().state == "none"
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_an_interrupt_wakes_who_waits_for_events(make_client):
    client = make_client("holds_the_gil")
    handle = client.submit(a_run(client))
    for event in handle:
        if isinstance(event, Executing):
            threading.Timer(0.01, handle.interrupt).start()
        if event is INTERRUPTED:
            break
    assert event is INTERRUPTED


@pytest.mark.parametrize("child", ["obedient", "holds_the_gil", "boots_slowly", "stops_itself"])
def test_close_leaves_no_process_whatever_it_does(make_client, child):
    client = make_client(child, standby=True)
    client.submit(a_run(client))
    client.close()
    client.close()
    assert workers() == []
