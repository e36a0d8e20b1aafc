"""The Python of the README and of the guides runs as it stands there, block after block in one session."""

import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run_blocks(page):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    session: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), session)
    return len(blocks), session


@pytest.mark.slow
def test_the_python_of_the_readme_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks, session = run_blocks(ROOT / "README.md")
    assert blocks == 3
    assert (tmp_path / "runs" / "first" / "config.json").is_file()
    assert session["certificate"].radius.shape == (8,)
    assert np.all(session["certificate"].radius > 0.0)
    assert session["result"].objective.shape == (4, 10)
    assert session["certificate"].soundness == "sound"


@pytest.mark.slow
def test_the_python_of_the_guide_to_attacks_runs(capsys):
    blocks, session = run_blocks(ROOT / "docs" / "attack_your_model.md")
    assert blocks == 6
    result, damage, sootla, darkened = (session[name] for name in ("result", "damage", "sootla", "darkened"))
    assert result.objective.shape == (4, 7)
    # Half the source's distance is left, or less, at the smallest penalty.
    assert np.all(result.distance[:, 0] < 0.5 * result.distance[:, -1])
    assert np.all(damage.distance[:, 1] < damage.distance[:, 0]) and np.all(damage.distance < 0.0)
    assert sootla.objective.shape == (4, 1)
    assert np.all(darkened.distortion_max <= 0.1 + 1e-6)
    assert "(4, 7)" in capsys.readouterr().out


@pytest.mark.slow
def test_the_python_of_the_guide_to_certificates_runs(capsys):
    blocks, session = run_blocks(ROOT / "docs" / "certify_your_vae.md")
    assert blocks == 13
    made, least, paths = (session[name] for name in ("of_methods", "least", "paths"))
    medians = [np.median(made[name].radius) for name in ("camuto", "spectral", "antithetic")]
    assert 0.0 < medians[0] < medians[1] < medians[2]
    assert np.all(made["lipschitz"].radius <= made["moving_std"].radius * (1.0 + 1e-5))
    assert np.all(made["linear_region"].radius > 0.0)
    assert np.all(least.lower < least.upper) and np.all(paths.radius > 0.0)
    assert np.all(session["sound_paths"].radius > 0.0)
    assert session["certificate"].n == 60 and session["report"].violations == 0 < session["report"].trials
    assert np.all(session["upper"].upper[np.isfinite(session["upper"].upper)] > made["spectral"].radius[0])
    # Training for the margin of first order raises the sound one.
    assert session["robust"] > 1.1 * session["plain"] > 0.0
    assert "sound" in capsys.readouterr().out
