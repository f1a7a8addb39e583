from dw.events import Cleared, Executing, Loaded, Loading, Planned, Stepped
from dw.types import Memory
from dw.worker.supervision.cost_estimates import CostEstimates

MEMORY = Memory("CPU", 0, 0, 0, 0, 0)


def paced(*timed):
    pace = CostEstimates()
    for at, event in timed:
        pace.update(event, at)
    return pace


def loading(name):
    return Loading(1, name, "Class", 1, 2)


def step(done, name="gen", phase="denoise"):
    return Stepped(1, name, phase, done, 10)


def test_a_step_takes_what_the_last_ones_took():
    assert paced((0.0, step(0)), (5.0, step(1)), (7.0, step(3))).step_s == 1.0


def test_before_the_second_report_nothing_is_known():
    assert paced((0.0, step(0))).step_s is None


def test_after_the_last_step_there_is_none_to_wait_for():
    assert paced((0.0, step(9)), (1.0, step(10))).step_s is None


def test_another_call_of_a_pipeline_begins_anew():
    pace = paced((0.0, step(1)), (1.0, step(2)), (9.0, step(0, "up")))
    assert pace.step_s == 1.0
    pace.update(step(1, "up"), 9.5)
    assert pace.step_s == 0.5


def test_a_download_is_no_step():
    assert paced((0.0, step(1)), (1.0, step(2)), (2.0, step(3, phase="download"))).step_s is None


def test_a_reload_takes_what_the_loads_took_of_what_is_there():
    first = [(0.0, loading("a")), (3.0, loading("b")), (4.0, Loaded(1, "w", 4.0))]
    pace = paced(*first, (5.0, Executing(1, "w")))
    assert pace.reload_s == 4.0
    pace.update(Planned(2, "changed", ("a",), ("b",), ("b",)), 6.0)
    assert pace.reload_s == 3.0
    pace.update(loading("b"), 6.0)
    pace.update(Executing(2, "w"), 6.5)
    assert pace.reload_s == 3.5


def test_what_was_cleared_costs_nothing():
    pace = paced((0.0, loading("a")), (3.0, Loaded(1, "w", 3.0)), (4.0, Cleared(2, 0, MEMORY)))
    assert pace.reload_s is None
