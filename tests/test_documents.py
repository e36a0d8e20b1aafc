"""docs/ has what the tables in docs/results/ say: seatbelt figures --docs=docs writes it anew."""

import csv
import io
import math
import shutil

import pytest

from seatbelt_jax.studies.papers import documents
from tests import launchers

DOCS = launchers.ROOT / "docs"


def numbers(text):
    """The rows of a table, numbers as such."""
    rows = csv.reader(io.StringIO(text))
    return [[float(entry) if _is_number(entry) else entry for entry in row] for row in rows]


def _is_number(text):
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False


@pytest.mark.slow
def test_pages_and_figures_are_those_of_the_tables():
    """Run `seatbelt figures --docs=docs` where this fails."""
    made = list(documents.texts(DOCS))
    assert {"reproduction.md", "results.md", "sweeps.md", "w21_3.csv", "claims.md"} <= {file.name for file, _ in made}
    for file, text in made:
        if file.suffix == ".csv":
            found, expected = numbers(file.read_text()), numbers(text)
            assert len(found) == len(expected), file
            for row, wanted in zip(found, expected, strict=True):
                assert row == [pytest.approx(one, rel=1e-6) if isinstance(one, float) else one for one in wanted], file
        else:
            assert file.read_text() == text, f"{file} differs from the tables"


def test_a_number_changed_by_hand_and_one_changed_in_a_table_are_found(tmp_path, capsys):
    docs = tmp_path / "docs"
    shutil.copytree(DOCS / "results" / "w21_rotation", docs / "results" / "w21_rotation")
    page = docs / "page.md"
    page.write_text("By hand.\n\n<!-- measured: w21_4 -->\n<!-- end -->\nMore.\n")
    with launchers.given("figures", f"--docs={docs}") as command:
        command.main()
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text()
    assert text.startswith("By hand.\n\n<!-- measured: w21_4 -->\n| model |") and text.endswith("<!-- end -->\nMore.\n")
    assert "| Seatbelt-VAE | 2 | 2.4 | 4.6 |" in text and not documents.write(docs)
    page.write_text(text.replace("| 2.4 |", "| 9.9 |"))
    assert documents.write(docs) == [page] and page.read_text() == text
    table = docs / "results" / "w21_rotation" / "sweep_measures.csv"
    lines = table.read_text().splitlines()
    index = next(number for number, line in enumerate(lines) if "median_distortion_half_way_l2" in line)
    lines[index] = ",".join([*lines[index].split(",")[:-3], "7.0", "", ""])
    table.write_text("\n".join(lines))
    assert documents.write(docs) == [page] and "| 7 |" in page.read_text()


def test_a_figure_that_tables_no_longer_make_is_named(tmp_path):
    folder = tmp_path / "results" / "w21_disentanglement"
    folder.mkdir(parents=True)
    for name in ("sweep.csv", "w21_e11.csv"):
        shutil.copy(DOCS / "results" / folder.name / name, folder)
    with pytest.raises(ValueError, match=r"w21_disentanglement/w21_e11 can no longer be drawn: it needs "):
        list(documents.texts(tmp_path))


@pytest.mark.parametrize("flag", ["sweep=runs/a", "figure=w21_3", "format=pdf", "output=figures"])
def test_what_would_change_nothing_of_the_documentation_is_refused(flag, tmp_path):
    line = launchers.refusal("figures", f"--docs={tmp_path}", f"--{flag}")
    assert f"it goes without --{flag.split('=')[0]}" in line


def test_a_part_that_does_not_exist_is_named(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "page.md").write_text("<!-- measured: w21_33 -->\n<!-- end -->\n")
    with pytest.raises(ValueError, match=r"there is no table 'w21_33' of what was measured"):
        list(documents.texts(tmp_path))
