"""launch/demo.py: what its summary says and in which order, and that both models are made alike."""

import dataclasses
import re

import numpy as np
import pytest

from seatbelt_jax import bounds, configurations, storage
from seatbelt_jax.cli import demo
from seatbelt_jax.report.demo_summary import summary
from tests import made_up_runs


@pytest.fixture
def runs(tmp_path):
    """A hierarchy with a certificate of first order alone, and a model of one layer with a sound one beside it."""
    found = {}
    for name, sizes in (("seatbelt", (3, 2)), ("vae", (4,))):
        path = made_up_runs.write(tmp_path / name, "metrics", latent_sizes=sizes, seed=len(sizes))
        result = made_up_runs.attack(np.random.default_rng(len(sizes)), made_up_runs.SHAPE)
        storage.write_npz(path / "attacks" / "latent_kl_all_label.npz", result.to_arrays())
        _certify(path, "hierarchical" if len(sizes) > 1 else "spectral", "first_order", 0.5)
        found[name] = path
    _certify(found["vae"], "hybrid", "sound", 0.03125)
    return found


def _certify(path, method, soundness, median):
    made = made_up_runs.certificate()
    radius = np.full(made.n, median)
    changed = dataclasses.replace(
        made, radius=radius, abstained=np.zeros(made.n, bool), method=method, soundness=soundness
    )
    storage.write_npz(path / "certificates" / f"{method}.npz", changed.to_arrays())


def rows(text):
    """Label -> the values of both columns."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"  (\S.*?)\s{2,}(\S+)\s+(\S+)", line):
            found[match[1]] = match.groups()[1:]
    return found


def test_it_leads_with_what_an_attack_costs_and_what_is_certified_soundly(runs):
    lines = summary(runs).splitlines()
    assert lines[0].split() == ["seatbelt", "vae"]
    assert lines[1].startswith("What an attack costs: ||d||")
    assert lines[2].startswith("  Distortion to go half way, pixel units (higher is better)")
    assert lines[3].startswith("  Distortion to go nine tenths")
    assert lines[4].startswith("What is certified: no smaller ||d||") and "r = 4" in lines[4]
    assert lines[5].split() == ["sound", "none", "0.0312"]
    assert lines[6].startswith("  to first order, which is no proof")


def test_a_sound_margin_is_never_one_of_first_order(runs):
    assert rows(summary(runs))["to first order, which is no proof"] == ("0.5", "0.5")
    storage.Folder(runs["vae"] / "certificates").remove()
    _certify(runs["vae"], "spectral", "first_order", 9.0)
    assert rows(summary(runs))["sound"] == ("none", "none")


def test_the_largest_sound_margin_is_told_whatever_its_method(runs):
    _certify(runs["vae"], "lipschitz", "sound", 0.0625)
    _certify(runs["seatbelt"], "hierarchical_pathwise", "sound", 0.125)
    assert rows(summary(runs))["sound"] == ("0.125", "0.0625")


def test_it_says_how_many_attacks_ended_at_the_limit(runs):
    assert rows(summary(runs))["attacks that ended at the iteration limit"] == ("33%", "33%")


def test_the_models_differ_in_nothing_but_what_makes_them_what_they_are():
    seatbelt, vae = (configurations.load(name, "demo") for name in demo.MODELS.values())
    for section in ("data", "optimizer", "train", "seed"):
        assert seatbelt[section] == vae[section]
    differs = {name for name in vae["model"] if seatbelt["model"][name] != vae["model"][name]}
    assert differs == {"latent_sizes"}
    assert {name for name in vae["objective"] if seatbelt["objective"][name] != vae["objective"][name]} == {
        "beta", "free_bits",
    }  # fmt: skip


def test_it_asks_for_a_sound_certificate():
    assert any(
        bounds.METHODS[name].soundness == "sound" for name in demo.CERTIFICATES.methods if name in bounds.METHODS
    )
    assert demo.ATTACK.iterations == 500
