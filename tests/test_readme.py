"""The README's Python runs as it stands there, block after block in one session."""

import pathlib
import re

import numpy as np

README = pathlib.Path(__file__).parents[1] / "README.md"


def test_the_python_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    session: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), session)
    assert session["certificate"].radius.shape == (8,)
    assert np.all(session["certificate"].radius > 0.0)
    assert session["result"].objective.shape == (4, 10)
    assert "first_order" in capsys.readouterr().out
