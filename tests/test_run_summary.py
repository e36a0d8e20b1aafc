"""A run at a glance: what the files say, what is absent with its command, what is old, what is damaged."""

import dataclasses
import json
import re

import numpy as np
import pytest

from seatbelt_jax import runs, storage
from seatbelt_jax.runs import measures
from tests import made_up_runs

ALARM = "<script>alert(1)</script>"


@pytest.fixture
def whole(tmp_path):
    """A run of one layer with all results, in the launchers' own names and numbers of round digits."""
    path = made_up_runs.write(tmp_path / "a", "metrics", "attacks", "certificates", "evaluation", extra=ALARM)
    rows = {"attacks": 15, "median_objective": 12.5, "median_distortion_half_way_l2": 3.25,
            "median_distortion_nine_tenths_l2": np.inf, "share_suspicious": 0.125}  # fmt: skip
    measures = [{"measure": name, "value": value, "low": np.nan, "high": np.nan} for name, value in rows.items()]
    storage.write_csv(path / "attacks" / "latent_kl_summary.csv", measures)
    other = dataclasses.replace(made_up_runs.certificate(), radius=np.array([0.0, 1.0, 3.0, 9.0]))
    storage.write_npz(path / "certificates_test" / "spectral.npz", other.to_arrays())
    return path


def line(summary, beginning):
    """The words of the line that begins so."""
    (found,) = [row for row in str(summary).splitlines() if row.strip().startswith(beginning)]
    return re.split(r"\s{2,}", found.strip())


def test_everything_is_what_the_files_say(whole, monkeypatch):
    monkeypatch.setattr(runs.Run, "latest_step", 20)
    for file in (*whole.glob("*/*.npz"),):
        storage.write_npz(file, {**storage.read_npz(file), "step": 20})
    storage.write_json(whole / "evaluation.json", storage.read_json(whole / "evaluation.json") | {"step": 20})
    summary = runs.open(whole).summary()
    assert line(summary, "model")[1] == "β-TCVAE, 4 latents, β = 8"
    assert line(summary, "made of")[1] == "mlp network, gaussian likelihood"
    assert line(summary, "step") == ["step", "20"]
    assert line(summary, "Reconstruction error, pixel units, step 20")[1] == "120"
    assert line(summary, "ELBO, nats, step 20")[1] == "-5"
    assert line(summary, "latent_kl") == ["latent_kl", "12.5", "3.25", "inf", "12%", "nats"]
    rows = [re.split(r"\s{2,}", row.strip()) for row in str(summary).splitlines() if row.strip().startswith("spectral")]
    assert rows == [
        ["spectral", "first order", "l2", "4", "4 validation", "0.375"],
        ["spectral", "first order", "l2", "4", "4 test", "2"],
    ]
    assert line(summary, "ELBO, nats, validation")[1] == "-12.5"
    assert line(summary, "active units of each layer, validation")[1] == "3"
    assert line(summary, "page")[1] == f"none yet: seatbelt report --run={whole}"
    assert "none yet" not in str(summary).split("Files")[0]
    assert repr(summary) == str(summary) and max(map(len, str(summary).splitlines())) < 160


@pytest.mark.parametrize(
    ("determined", "words"), [(True, "4 to 4.1, 8 paths"), (False, "not determined (4 to 4.1, 8 paths)")]
)
def test_a_bracket_is_never_one_number(determined, words):
    name = "total_correlation_nats"
    found = {f"{name}_lower": 4.0, f"{name}_upper": 4.1, f"{name}_determined": determined, "paths": 8}
    assert measures.bracket(found, name) == words and measures.bracket({}, name) == ""


@pytest.mark.parametrize(("layers", "words"), [((4,), "4"), ((4, 2), "bracket not measured; evaluate again")])
def test_one_number_of_an_earlier_version_is_no_bracket(tmp_path, layers, words):
    path = made_up_runs.write(tmp_path / "run", latent_sizes=layers)
    elbo = {"elbo_nats": -12.5, "total_correlation_nats": 4.0, "options": {"images": 20}}
    storage.write_json(path / "evaluation.json", {"step": None, "measures": {"elbo": elbo}, "skipped": {}})
    summary = runs.open(path).summary()
    assert line(summary, "Total correlation, nats, validation")[1] == words
    assert line(summary, "ELBO, nats, validation")[1] == "-12.5"


def test_a_hierarchy_that_no_path_moves_has_one_number(tmp_path):
    elbo = {"total_correlation_nats": 4.0, "options": {"paths": 16}}
    assert measures.without_bracket(elbo, {"model": {"latent_sizes": [4, 2]}}) == []


def test_html_takes_nothing_of_a_file_for_its_own(whole):
    page = runs.open(whole).summary()._repr_html_()
    assert ALARM not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<td>latent_kl</td><td>12.5</td><td>3.25</td>" in page


def test_what_is_absent_is_named_with_its_command(tmp_path):
    path = made_up_runs.write(tmp_path / "a b")
    text = str(runs.open(path).summary())
    assert f"no checkpoint yet: seatbelt train --config=CONFIG --workdir='{path}'" in text
    for launcher in ("attack", "certify", "evaluate", "report"):
        assert f"none yet: seatbelt {launcher} --run='{path}'" in text


def test_results_of_an_earlier_step_are_not_shown_as_the_model_s(whole, monkeypatch):
    monkeypatch.setattr(runs.Run, "latest_step", 30)
    for file in (*whole.glob("*/*.npz"),):
        storage.write_npz(file, {**storage.read_npz(file), "step": 20})
    text = str(runs.open(whole).summary())
    for words in ("latent_kl", "certificates/spectral, certificates_test/spectral", "evaluation.json"):
        assert f"of an earlier step, to be made anew: {words}" in text
    assert "12.5" not in text and "0.375" not in text


def test_damage_is_named(whole):
    file = whole / "certificates" / "spectral.npz"
    storage.write_npz(file, {"unrelated": np.zeros(2)})
    with pytest.raises(ValueError, match=r"spectral\.npz: this is not a certificate: radius, p_lower"):
        runs.open(whole).summary()
    file.unlink()
    (whole / "config.json").write_text(json.dumps({"config": {"data": {"name": "x"}, "model": {"network": "mlp"}},
                                                   "image_shape": [8, 8, 1], "provenance": {}}))  # fmt: skip
    with pytest.raises(ValueError, match=r"config\.json lacks 'objective'"):
        runs.open(whole).summary()
