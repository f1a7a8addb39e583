#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: `--dist loadgroup` ignores @pytest.mark.xdist_group. xdist puts the group
# into `item._nodeid` while it collects; this pytest answers `item.nodeid` from elsewhere, so that the scheduler,
# which reads the group from the id, sees none and deals the tests of one group to all processes. Nothing is
# warned: tests that share a server, a port or a costly fixture run beside each other, and a module's fixture is
# made once for each process.
#
# Source: xdist's documentation, "Running tests across multiple CPUs": all tests with the same xdist_group name
# run in the same worker.
#
# Seen: 8 tests of one group ran in 2 processes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pytest==9.2.0 pytest-xdist==3.8.0
mkdir "$folder/tests"
cat > "$folder/tests/test_group.py" <<'PYTHON'
import os
import pathlib
import time

import pytest

pytestmark = pytest.mark.xdist_group("one")


@pytest.mark.parametrize("number", range(8))
def test_it(number):
    time.sleep(0.1)
    with open(pathlib.Path(__file__).parent.parent / "seen", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PYTHON
cd "$folder/tests"
"$folder/venv/bin/python" -m pytest -q -n 2 --dist loadgroup > "$folder/log" 2>&1
processes=$(sort -u "$folder/seen" | wc -l)
echo "$(wc -l < "$folder/seen") tests of one group ran in $processes processes"
test "$processes" -eq 2
