# Each target makes .venv and installs what it needs, once.
# test-long runs the full size of what test runs in a smaller one: before a release, beside bench.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-long check mutation bench clean

demo: $(READY)
	$(BIN)/python -m dw.repl --script examples/demo.dw

test: $(READY)
	$(BIN)/python -m pytest
	$(BIN)/python test_worker.py

test-long: $(READY)
	$(BIN)/python -m pytest -m long --timeout 1200

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# MODULES="cache spec": those alone. A module takes minutes.
mutation: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	$(BIN)/python -m tests.mutation $(MODULES)

bench: $(READY)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.serving

clean:
	rm -rf .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'dw needs Python 3.11 or later: make PYTHON=/path/to/python3.11'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
