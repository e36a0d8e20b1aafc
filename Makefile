# make demo   sets up, trains, attacks, certifies, and leaves runs/demo/report.html
# make test   sets up and runs every check
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup lint types tests wheel clean

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

# Each of the two begins with one half of the files, so that what a file's tests share is made once.
tests: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# A built wheel must install into an empty environment and import there, away from the checkout.
wheel: setup
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --no-compile dist/*.whl
	cd / && $(CURDIR)/.venv-wheel/bin/python -c \
	  'from seatbelt_jax import attacks, bounds, data, elbo, metrics, models, plots, run, training; print(bounds.__file__)'
	rm -rf .venv-wheel

clean:
	rm -rf .venv .venv-wheel dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
