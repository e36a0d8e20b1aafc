"""What `import seatbelt_jax` and its rooms load."""

import importlib.resources
import json
import subprocess
import sys

import pytest

import seatbelt_jax

# Packages that only data, training, plots and the commands need.
HEAVY = {"array_record", "flax", "grain", "matplotlib", "orbax", "PIL", "tensorboardX", "tensorflow_datasets"}


def loaded_by(statement):
    """The top-level modules that a fresh interpreter has loaded after the statement."""
    program = f"import json, sys; {statement}; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    command = [sys.executable, "-W", "ignore", "-c", program]
    return set(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def test_the_package_alone_imports_nothing_of_others():
    assert not loaded_by("import seatbelt_jax; assert seatbelt_jax.__version__") & (HEAVY | {"jax", "numpy"})


def test_rooms_of_formulas_load_no_data_plots_or_networks():
    rooms = ("attacks", "bounds", "elbo", "metrics", "total_correlation")
    loaded = loaded_by("from seatbelt_jax import " + ", ".join(rooms))
    assert "jax" in loaded and not loaded & HEAVY


def test_every_room_is_found_by_its_name_and_other_names_are_refused():
    for room in ("attacks", "bounds", "data", "metrics", "models", "plots", "runs", "training"):
        assert getattr(seatbelt_jax, room).__name__ == f"seatbelt_jax.{room}"
        assert room in dir(seatbelt_jax)
    with pytest.raises(AttributeError, match="no attribute 'bound'; its rooms: attacks, bounds"):
        _ = seatbelt_jax.bound


def test_the_former_name_of_open_stays():
    former, runs = seatbelt_jax.run, seatbelt_jax.runs
    assert all(getattr(former, name) is getattr(runs, name) for name in former.__all__)
    assert {"open", "Run", "prepare", "origin_of"} <= set(former.__all__)


def test_type_checkers_of_users_read_our_annotations():
    assert importlib.resources.files(seatbelt_jax).joinpath("py.typed").is_file()
