"""Records of results: their files, what these were made with, and how parts make a whole."""

import dataclasses
import json

import numpy as np
import pytest

from seatbelt_jax import storage
from seatbelt_jax.results import AttackResult, Certificate, Comparable, EmpiricalMargin, MinimalRobustRadius, files
from tests import made_up_runs


@dataclasses.dataclass(frozen=True)
class Options:
    pairs: int = 3
    budgets: tuple[float, ...] = (1.0, 2.0)


def records():
    ones = np.ones(2)
    return {
        AttackResult: made_up_runs.attack(np.random.default_rng(0), (4, 4, 1)),
        Certificate: made_up_runs.certificate(),
        EmpiricalMargin: EmpiricalMargin(
            ones, np.ones((2, 4, 4, 1)), ones, ones, np.ones((2, 3)), np.ones((2, 3)), 1e-3, 0.5, 4.0, 10, 5, "l2"
        ),
        MinimalRobustRadius: MinimalRobustRadius(ones, 0.5 * ones, 2.0 * ones, 0.5, 0.999, 10),
    }


@pytest.mark.parametrize("kind", list(records()))
def test_a_record_comes_back_from_its_file_with_what_it_was_made_with(tmp_path, kind):
    made = dataclasses.replace(records()[kind], split="test")
    file = tmp_path / "x.npz"
    files.write(file, made, 7, Options())
    found = files.read(file, kind)
    assert found.rows() == made.rows() and {row["split"] for row in found.rows()} == {"test"}
    for before, after in zip(vars(made).values(), vars(found).values(), strict=True):
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
    assert files.made_by(file) == files.MadeBy(7, {"pairs": 3, "budgets": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("stored", "step", "options", "expected"),
    [
        ({"step": 7, "options": Options()}, 7, None, True),
        ({"step": 7, "options": Options()}, 8, None, False),
        ({"step": 7, "options": Options()}, None, None, False),
        ({"step": 7, "options": Options()}, 7, Options(), True),
        ({"step": 7, "options": Options()}, 8, Options(), False),
        ({"step": 7, "options": Options()}, 7, Options(pairs=4), False),
        # Results of early versions say less: they can be shown, and are not taken for those of given options.
        ({}, 7, None, True),
        ({}, 7, Options(), False),
        ({"step": 7}, 7, None, True),
        ({"step": 7}, 7, Options(), False),
        ({"step": 7, "options": "damaged"}, 7, Options(), False),
    ],
)
def test_results_are_of_a_step_and_of_options(tmp_path, stored, step, options, expected):
    if isinstance(stored.get("options"), Options):
        stored = {**stored, "options": json.dumps(dataclasses.asdict(stored["options"]))}
    storage.write_npz(tmp_path / "x.npz", {"radius": np.ones(3), **stored})
    assert files.made_by(tmp_path / "x.npz").is_of(step, options) is expected
    assert files.current(tmp_path, step)[0 if files.made_by(tmp_path / "x.npz").is_of(step) else 1]


@pytest.mark.parametrize("step", [np.ones(2, int), np.asarray("7"), np.asarray(7.0)])
def test_a_damaged_step_is_refused_in_a_line_that_names_the_file(tmp_path, step):
    storage.write_npz(tmp_path / "x.npz", {"step": step})
    with pytest.raises(ValueError, match=r"x\.npz: step must be one whole number, got"):
        files.made_by(tmp_path / "x.npz")


def test_only_the_members_that_say_so_are_read(tmp_path):
    storage.write_npz(tmp_path / "x.npz", {"step": 7, "images": np.zeros(9)})
    assert list(storage.read_npz(tmp_path / "x.npz", ("step", "options"))) == ["step"]


@pytest.mark.parametrize(("folder", "split"), [("certificates", "validation"), ("certificates_test", "test")])
def test_the_folder_says_the_split_of_files_of_early_versions(tmp_path, folder, split):
    arrays = made_up_runs.certificate().to_arrays()
    del arrays["split"]
    storage.write_npz(tmp_path / folder / "spectral.npz", arrays)
    assert files.read(tmp_path / folder / "spectral.npz", Certificate).comparable == Comparable("l2", split, 4.0, 0.5)
    assert files.of_split("certificates", split) == folder
    assert files.of_split("evaluation.json", "test") == "evaluation_test.json"


def test_what_is_no_record_is_refused_in_a_line_that_names_the_file(tmp_path):
    file = tmp_path / "certificates" / "empirical_margin_linf.npz"
    storage.write_npz(file, made_up_runs.certificate().to_arrays())
    with pytest.raises(ValueError, match=r"margin_linf\.npz: this is not an empirical margin: upper, .* missing"):
        files.read_margins(file)
    for name, value in {"soundness": 3, "assumptions": "one", "alpha": np.ones(2)}.items():
        storage.write_npz(file, {**made_up_runs.certificate().to_arrays(), name: value})
        with pytest.raises(ValueError, match=rf"\.npz: {name} must be"):
            files.read(file, Certificate)


@pytest.mark.parametrize("kind", [Certificate, EmpiricalMargin, MinimalRobustRadius])
def test_parts_with_the_same_settings_make_one_record(kind):
    made = records()[kind]
    whole = kind.concatenate([made, made])
    assert len(whole.rows()) == 2 * len(made.rows()) and whole.rows()[-1] == {
        **made.rows()[-1],
        "image": len(whole.rows()) - 1,
    }
    with pytest.raises(ValueError, match="parts of different risk do not make one"):
        kind.concatenate([made, dataclasses.replace(made, risk=0.4)])
    with pytest.raises(ValueError, match="there is no part of"):
        kind.concatenate([])
