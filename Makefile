# make demo   sets up, trains, attacks, certifies, and leaves runs/demo/report.html
# make test   sets up and runs lint, types and the tests that take a few seconds each at most
# make test-all  the same with all tests: those that start processes, kill them, count trials, need a browser
# make quick  sets up and runs lint, types, a smoke run of each command and the fastest tests
# With another Python, in an environment of its own: make quick PYTHON=python3.13 VENV=.venv-newest
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the fastest tests cover: seconds each.
FAST := array_files attack_metrics bounds_certify bounds_confidence bounds_dual bounds_margin checkpoint \
  conftest data elbo gaussian import likelihood loop run storage tfds

.PHONY: demo test test-all quick fast setup lint types tests all-tests smoke wheel clean

demo: setup
	$(BIN)/seatbelt demo

test: lint types tests

test-all: lint types all-tests

quick: lint types smoke fast

fast: setup
	$(BIN)/python -m pytest -q -m "not slow" $(FAST:%=tests/test_%.py)

# The stamp is newer than pyproject.toml when what it lists is installed. Python compiles what is imported when it is;
# compiling all that is installed takes 30 s.
setup: $(VENV)/installed
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; say which with: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

# Each of the two processes begins with one half of the files, so that what a file's tests share is made once.
tests: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

all-tests: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The commands that users begin with, on a tiny model; programs that run once are not worth optimising.
define JOURNEY
	$(1) train --config=sprites_vae:smoke --workdir=$(2)
	$(1) attack --run=$(2) --penalties=2 --iterations=5 --pairs=2
	$(1) certify --run=$(2) --images=2 --samples=100
	$(1) report --run=$(2)
endef

smoke wheel: export JAX_DISABLE_MOST_OPTIMIZATIONS := 1

smoke: setup
	rm -rf $(VENV)/smoke
	$(call JOURNEY,$(BIN)/seatbelt,$(VENV)/smoke)

# A built wheel must install into an empty environment and do the same there, away from the checkout.
wheel: setup
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --quiet --wheel --outdir dist .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install --quiet --no-compile dist/*.whl
	cd / && $(CURDIR)/.venv-wheel/bin/python -c \
	  'from seatbelt_jax import attacks, bounds, data, elbo, metrics, models, plots, runs, training; print(bounds.__file__)'
	$(call JOURNEY,cd .venv-wheel && bin/seatbelt,run)
	rm -rf .venv-wheel

clean:
	rm -rf .venv .venv-newest .venv-wheel dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
