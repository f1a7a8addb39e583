"""Every key, form and command of the format has a test and an example."""

import pytest

from docs import coverage


@pytest.mark.parametrize("use", coverage.uses(), ids=lambda use: use.name)
def test_it_is_tested_and_shown(use):
    assert use.test, f"no test names {use.name}"
    assert use.example, f"no example has {use.name}"
