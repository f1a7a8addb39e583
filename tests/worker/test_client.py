import threading
import time

import psutil
import pytest

from dw.errors import WorkerLost
from dw.worker.client import INTERRUPTED
from dw.worker.protocol import (
    Cancelled,
    CancelRequested,
    Check,
    Checked,
    Clear,
    Cleared,
    Died,
    Executing,
    Finished,
    Launched,
    Launching,
    Prepare,
    Prepared,
    Report,
    Reported,
    Said,
    Stepped,
    TimedOut,
)
from tests.worker.conftest import a_run, workers

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
    assert [type(ticket.result()) for ticket in tickets] == [Finished] * 3
    assert len(workers()) == 1


@pytest.mark.parametrize(
    ("child", "kind", "cause"),
    [
        ("kills_itself", "signal", "killed by signal 9 (SIGKILL)"),
        ("dies_in_load", "signal", "killed by signal 9 (SIGKILL)"),
        ("segfaults", "signal", "killed by signal 11 (SIGSEGV)"),
        ("exits_with_zero", "exit", "exited with code 0"),
        ("forks_and_dies", "exit", "exited with code 7"),
        ("exits_in_boot", "boot", "exited with code 3 before it was ready"),
        ("raises_in_boot", "boot", "exited with code 1 before it was ready"),
    ],
)
def test_the_cause_of_a_death_is_named_and_the_next_run_is_served(make_client, child, kind, cause):
    client = make_client(child)
    for _ in range(2):
        died = client.submit(a_run(client)).result()
        assert isinstance(died, Died)
        assert (died.kind, died.cause) == (kind, cause)
    assert client.status().state == "none"
    assert workers() == []


def test_a_death_is_told_at_once_with_the_last_step_and_the_last_words(make_client):
    client = make_client("kills_itself")
    times = {}
    for event in client.submit(a_run(client)):
        times[type(event)] = time.monotonic()
    assert times[Died] - times[Stepped] < TOLD_WITHIN_S
    assert isinstance(event, Died)
    assert event.last_step == "step gen, denoise 2/4"
    assert event.tail[-1] == "the last words"


def test_a_crash_leaves_its_stack(make_client):
    client = make_client("segfaults")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert "segfaults.py" in died.stack


def test_a_boot_failure_shows_what_was_said(make_client):
    client = make_client("raises_in_boot")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert any("libcudart.so.13" in line for line in died.tail)


def test_a_cancel_stops_the_run_and_keeps_the_worker(make_client):
    client = make_client("obedient")
    ticket = client.submit(a_run(client))
    for event in ticket:
        if isinstance(event, Stepped) and event.done == 1:
            client.cancel(ticket.run_id)
    assert isinstance(event, Cancelled)
    assert client.status().state == "idle"
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_cancelling_twice_late_or_early_is_harmless(make_client):
    client = make_client("obedient")
    first, second = client.submit(a_run(client)), client.submit(a_run(client))
    client.cancel(second.run_id)
    client.cancel(second.run_id)
    client.cancel(9999)
    assert isinstance(first.result(), Finished)
    assert isinstance(second.result(), Cancelled)
    client.cancel(first.run_id)
    assert isinstance(client.submit(a_run(client)).result(), Finished)


@pytest.mark.parametrize("child", ["ignores_cancel", "holds_the_gil", "stops_itself"])
def test_a_run_that_does_not_stop_is_killed_after_its_grace(make_client, child):
    client = make_client(child, grace_s=0.2)
    ticket = client.submit(a_run(client))
    for event in ticket:
        if isinstance(event, Executing):
            client.cancel(ticket.run_id)
    assert isinstance(event, Died)
    assert (event.kind, event.cause) == ("killed", "it did not stop within 0.2 s of being asked")
    assert workers() == []


def test_the_deadline_cancels_politely_and_keeps_the_models(make_client):
    client = make_client("obedient")
    events = list(client.submit(a_run(client), timeout_s=0.03))
    assert isinstance(events[-2], CancelRequested | Stepped)
    assert isinstance(events[-1], TimedOut)
    assert (events[-1].clock, events[-1].keeps_models) == ("deadline", True)
    assert client.status().state == "idle"


def test_the_deadline_kills_who_ignores_it_and_the_next_run_is_served(make_client):
    client = make_client("ignores_cancel", grace_s=0.1)
    for _ in range(2):
        end = client.submit(a_run(client), timeout_s=0.05).result()
        assert isinstance(end, TimedOut)
        assert (end.clock, end.keeps_models) == ("deadline", False)


def test_the_deadline_does_not_count_loading_but_the_stall_limit_does(make_client):
    client = make_client("loads_slowly", stall_s=0.3, grace_s=0.1)
    end = client.submit(a_run(client), timeout_s=0.05).result()
    assert isinstance(end, TimedOut)
    assert (end.clock, end.last_step) == ("stall", "loading gen.vae")


def test_the_stack_is_shown_while_the_gil_is_held(make_client):
    client = make_client("holds_the_gil")
    for event in client.submit(a_run(client)):
        if isinstance(event, Executing):
            break
    stack = ""
    while "holds_the_gil.py" not in stack:
        stack = client.where()


def test_a_flood_of_output_is_cut_and_counted(make_client):
    client = make_client("floods_stdout")
    said = [e.text for e in client.submit(a_run(client)) if isinstance(e, Said)]
    assert 0 < len(said) < 1000
    client.submit(a_run(client)).result()


def test_a_line_of_ten_megabytes_is_cut(make_client):
    client = make_client("writes_a_long_line")
    events = list(client.submit(a_run(client)))
    assert isinstance(events[-1], Finished)
    assert all(len(e.text) < 5000 for e in events if isinstance(e, Said))


def test_a_second_reply_is_not_taken_for_the_next_runs(make_client):
    client = make_client("replies_twice")
    for _ in range(3):
        ticket = client.submit(a_run(client))
        assert names(ticket).count("Finished") == 1


def test_a_worker_of_another_version_is_refused(make_client):
    client = make_client("speaks_another_version")
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert "version 2 of the protocol" in died.cause
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


def test_the_standby_serves_the_first_run_and_is_made_again(make_client):
    client = make_client("obedient", standby=True)
    standby = None
    while standby is None:
        standby = client.status().standby_pid
    events = list(client.submit(a_run(client)))
    assert isinstance(events[0], Launching)
    assert events[1] == Launched(1, standby, True)
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
def test_errands_are_run_by_the_standby_and_start_one_when_needed(make_client, standby):
    client = make_client("obedient", standby=standby)
    checked = client.submit(Check(client.next_id(), "w.json", "{}")).result()
    prepared = client.submit(Prepare(client.next_id(), "w.json", "{}")).result()
    assert (type(checked), type(prepared)) == (Checked, Prepared)
    assert client.status().state == "none"
    assert isinstance(client.submit(a_run(client)).result(), Finished)


def test_an_interrupt_wakes_who_waits_for_events(make_client):
    client = make_client("holds_the_gil")
    ticket = client.submit(a_run(client))
    for event in ticket:
        if isinstance(event, Executing):
            threading.Timer(0.01, ticket.interrupt).start()
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


def test_many_lives_leave_no_descriptor_behind(make_client):
    client = make_client("exits_with_zero")
    client.submit(a_run(client)).result()
    before = psutil.Process().num_fds()
    for _ in range(10):
        client.submit(a_run(client)).result()
    assert psutil.Process().num_fds() == before
