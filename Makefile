# make demo   sets up, trains, attacks, certifies, and leaves runs/demo/report.html
# make test   sets up and runs every check
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup lint types tests clean

demo: setup
	$(BIN)/python launch/demo.py

test: lint types tests

# The stamp is newer than pyproject.toml when what it lists is installed.
setup: .venv/installed
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; say which with: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

tests: setup
	$(BIN)/python -m pytest -n 2

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
