"""The report on runs: every section, nothing from elsewhere, nothing of a file taken for HTML, hints, bad input."""

import base64
import dataclasses
import hashlib
import importlib
import io
import json
import pathlib
import re
import types
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from seatbelt_jax import metrics, plots, runs, storage
from seatbelt_jax.attacks import AttackResult, Status
from seatbelt_jax.plots import text
from seatbelt_jax.plots.attacks import attack_charts, shown_pairs, slider_steps
from seatbelt_jax.plots.certificates import certified_fraction, margin_histogram
from seatbelt_jax.plots.empirical import Compared, certified_against_empirical
from seatbelt_jax.plots.sweeps import sweeps
from seatbelt_jax.report import build, summary
from seatbelt_jax.report import results as results_report
from seatbelt_jax.report.figures import charts_of
from seatbelt_jax.report.page import Cell, formula
from seatbelt_jax.results import MEANING, NOT_CHECKED, EmpiricalMargin
from seatbelt_jax.runs import model_name
from tests import launchers, made_up_runs
from tests.html_page import read, section
from tests.reference.made_up_attacks import made_up_result

SECTIONS = (
    "answers", "introduction", "summary", "attacked-images", "attack-curves", "trust", "certificates", "not-certified",
    "measures", "looks", "learning", "settings",
)  # fmt: skip
LAYERS = ((4,), (4, 2))
ALARM = "<script>alert(1)</script>"


@pytest.fixture
def launcher() -> types.ModuleType:
    return build


@pytest.fixture
def make_run(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Writes a run of a name with fake results of the kinds that are asked for."""
    return lambda name, *kinds, **settings: made_up_runs.write(tmp_path / name, *kinds, **settings)


ALL = ("metrics", "samples", "attacks", "certificates", "evaluation")


def test_all_sections_with_all_results(launcher, make_run) -> None:
    a = make_run("a", *ALL, latent_sizes=(4, 2))
    b = make_run("b", *ALL, seed=1)
    written = launcher.report([a, b], command="seatbelt report --run=a")
    assert written.resolve() == (a.parent / "report.html").resolve()
    source, page = read(written)
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert len(page.ids) == len(set(page.ids))
    assert page.open == []
    # 3 charts of attacks, 2 of margins, and 6 metrics: the second layer's KL is one.
    assert page.svgs == 11
    # Three pictures for each of three pairs, reconstructions and samples; of two models.
    assert len(page.images) == 2 * (3 * 3 + 2)
    assert "There are no" not in source
    assert "Seatbelt-VAE, 2 layers of 4, 2 latents, β = 8" in page.text["answers"]
    assert "β-TCVAE, 4 latents, β = 8" in page.text["answers"]
    assert "120" in page.text["summary"] and "0.375" in page.text["summary"] and "25 %" in page.text["summary"]
    trust = " ".join(page.text["trust"].split())
    assert "33 % of those on a and 33 % of those on b show a sign of weakness" in trust
    assert "iteration limit" in trust and "Looked for and not found: line search failed" in trust
    assert "first order" in page.text["not-certified"] and "frozen <sigma>" in page.text["not-certified"]
    assert "jax" in page.text["settings"] and "9.9.9" in page.text["settings"] and "abc123" in page.text["settings"]
    names = {file.name for file in (a.parent / "figures").iterdir()}
    assert names == {
        "learning_curves.png", "attack_latent_kl.png", "certified_margins.png", "attacked_images_latent_kl_a.png",
        "attacked_images_latent_kl_b.png",
    }  # fmt: skip
    for file in (a.parent / "figures").iterdir():
        Image.open(file).verify()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sprites_vae", "VAE, 64 latents, β = 1"),
        ("sprites_beta_vae", "β-VAE, 64 latents, β = 8"),
        ("sprites_factor_vae", "FactorVAE, 10 latents, γ = 35"),
        ("sprites_joint_vae", "JointVAE, 10 latents and Concrete ones of 3 classes, γ = 30"),
        ("mnist_vae", "VAE, 10 latents and Concrete ones of 10 classes, β = 1"),
        ("sprites_beta_tcdlgm", "β-TCDLGM, 4 layers of 48, 24, 12, 6 latents, β = 8"),
    ],
)
def test_every_model_is_called_by_its_name(name, words) -> None:
    config = importlib.import_module(f"configs.{name}").get_config().to_dict()
    assert model_name.described(config) == words


def test_nothing_comes_from_elsewhere(launcher, make_run) -> None:
    source, page = read(launcher.report([make_run("a", *ALL)]))
    assert not re.search(r"https?:|@import", source)
    assert page.images
    for address in page.images:
        kind, content = address.split(",", 1)
        assert kind == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(content, validate=True))).verify()
    for reference in page.references:
        assert reference.startswith(("#", "data:image/png;base64,"))
    # What a chart refers to is there.
    for name in re.findall(r"url\(#([^)]+)\)|xlink:href=\"#([^\"]+)", source):
        assert "".join(name) in page.ids


def test_the_slider_carries_its_pictures(launcher, make_run) -> None:
    source, _ = read(launcher.report([make_run("a", "attacks")]))
    (packed,) = re.findall(r'<script type="application/json">(.*?)</script>', source, re.DOTALL)
    frames = json.loads(packed)
    assert [frame["label"] for frame in frames] == ["λ = 2⁻²⁰", "λ = 2⁻¹⁰", "λ = 2⁰", "λ = 2¹⁰", "λ = 2²⁰"]
    for frame in frames:
        assert len(frame["pairs"]) == 3
        for pair in frame["pairs"]:
            given = Image.open(io.BytesIO(base64.b64decode(pair["given"].split(",")[1])))
            assert given.size == (3 * 8 + 2, 8)


def test_every_attack_has_its_own_part(launcher, make_run) -> None:
    a, b = make_run("a", "attacks", "damage"), make_run("b", "damage", seed=1)
    source, page = read(launcher.report([a, b]))
    titles = ("Latent attack, KL divergence, all layers; penalty λ ‖d‖",
              "Maximum damage through the means; ‖d‖ within a radius")  # fmt: skip
    for name in ("summary", "attacked-images", "attack-curves", "trust"):
        found = section(page, name)
        assert 0 <= found.index(titles[0]) < found.index(titles[1]), name
    # All charts of the targeted attack, and one of the other, which has no target to be reached or likely.
    assert page.svgs == 4
    assert "attack objective Δ, nats" in source and "penalty λ, nats per unit of distortion" in source
    assert f"attack objective Δ = {text.MINUS}damage, pixel units" in source and "radius, L2 in pixel units" in source
    # Three pictures for each of three pairs; two without targets, on two models.
    assert len(page.images) == 3 * 3 + 2 * 3 * 2
    assert source.count("the attacker&rsquo;s target") == 1
    names = {file.name for file in (a.parent / "figures").iterdir()}
    assert {"attack_maximum_damage_mean.png", "attacked_images_maximum_damage_mean_b.png"} <= names


def test_an_attack_without_target_speaks_of_none(launcher, make_run) -> None:
    source, page = read(launcher.report([make_run("a", "damage")]))
    (packed,) = re.findall(r'<script type="application/json">(.*?)</script>', source, re.DOTALL)
    frames = json.loads(packed)
    assert [frame["label"] for frame in frames] == ["‖d‖ ≤ 0.5", "‖d‖ ≤ 1", "‖d‖ ≤ 1.5", "‖d‖ ≤ 2"]
    captions = [frame["pairs"][2]["caption"] for frame in frames]
    assert captions[1] == f"‖d‖ ≤ 1 · ‖d‖ = 1.00 · Δ = {text.MINUS}3.00 pixel units"
    found = section(page, "summary")
    assert f"{text.MINUS}3.00 [{text.MINUS}3.75, {text.MINUS}2.62]" in found
    assert "nine tenths" not in found and "AUDDC" not in found and "Distortion ‖ d ‖" not in found
    # The radii have one decade less than a logarithmic axis asks for.
    assert not re.search(r"<text [^>]*>10[⁰¹⁻]", source) and f">{text.MINUS}4<" in source


def test_intervals_and_the_area_under_the_curve(launcher, make_run) -> None:
    run = make_run("a", "attacks")
    file = run / "attacks" / "latent_kl.npz"
    found = AttackResult.from_arrays(storage.read_npz(file))
    summary = metrics.summarise(found)
    _, page = read(launcher.report([run]))
    shown = section(page, "summary")
    area = "area under the distortion-distortion curve; median over pairs ↑"
    for name, label in (("median_objective", "Attack objective Δ nats, median ↑"), ("median_auddc", area)):
        low, middle, high = (text.number(summary[name + end]) for end in ("_low", "", "_high"))
        assert f"{label} {middle} [{low}, {high}]" in shown
    storage.write_npz(file, dataclasses.replace(found, targets=found.sources).to_arrays())
    _, page = read(launcher.report([run]))
    assert "AUDDC" not in page.text["summary"]


def test_a_unit_from_a_file_is_taken_for_nothing_else(launcher, make_run) -> None:
    run = make_run("a", "attacks", "damage")
    for file in (run / "attacks").iterdir():
        storage.write_npz(file, {**storage.read_npz(file), "unit": np.asarray(f"$x$</script>{ALARM}")})
    source, page = read(launcher.report([run]))
    assert ALARM not in source and page.open == []
    assert [script.get("type") for script in page.scripts] == ["application/json", "application/json", None]
    frames = [json.loads(packed) for packed in re.findall(r'json">(.*?)</script>', source, re.DOTALL)]
    assert any(frame[0]["pairs"][0]["caption"].endswith(f"$x$</script>{ALARM}") for frame in frames)
    assert source.count("<text") and re.search(r"<text [^>]*>penalty λ, \$x\$&lt;/script&gt;", source)


def test_signs_of_weakness_stand_in_a_table(launcher, make_run) -> None:
    a, b = make_run("a", "damage"), make_run("b", "damage")
    file = b / "attacks" / "maximum_damage_mean.npz"
    arrays = storage.read_npz(file)
    arrays["start_objectives"] = np.stack([arrays["objective"]] * 2, axis=-1)
    arrays["start_objectives"][:, 0, 1] -= 1.0
    arrays["objective"][2, 3] = arrays["distance"][2, 3] = arrays["repeated_objective"][2, 3] = -4.5
    storage.write_npz(file, arrays)
    _, page = read(launcher.report([a, b]))
    trust = section(page, "trust")
    assert f"restart improved {MEANING['restart_improved']} not checked 25 %" in trust
    assert f"beaten by another budget {MEANING['beaten_by_another_budget']} 8 % 0 %" in trust
    # 8 % of one model's are too few to warn of.
    assert "Weak attacks: 25 % of those on b show a sign of weakness." in trust
    assert "not found: iteration limit, line search failed, stopped early, non finite, zero gradient, random " in trust
    assert "Not checked" not in trust
    _, page = read(launcher.report([a]))
    assert f"Not checked: {NOT_CHECKED['restart_improved']}" in section(page, "trust")


@pytest.mark.parametrize(
    ("change", "words", "axis", "label"),
    [
        ({"name": "latent_w2_top", "unit": "latent units"}, "Latent attack, 2-Wasserstein distance, top layer; "
         "penalty λ ‖d‖", "penalty λ, latent units per unit of distortion", "λ = 2⁻²⁰"),
        ({"name": "latent_symmetric_kl_layers_1_3_4_draws", "threat": "squared_penalty"}, "Latent attack, symmetric KL "
         "divergence, layers 1 3, 4 draws; penalty λ ‖d‖²", "nats per squared unit of distortion", "λ = 2⁻²⁰"),
        ({"name": "output_l2", "unit": "squared pixel units", "threat": "linf_ball",
          "budgets": np.array([0.01, 0.02, 0.05, 0.1, 0.2])}, "Output attack, squared L2 distance to the target; every "
         "pixel within a radius", "radius, largest change of a pixel", "max |dᵢ| ≤ 0.01"),
        ({"name": "my_<b>own</b>"}, "My &lt;b&gt;own&lt;/b&gt;; penalty λ ‖d‖", "penalty λ, nats per unit", "λ = 2⁻²⁰"),
    ],
)  # fmt: skip
def test_objectives_threats_and_budgets_are_called_by_their_names(
    launcher, make_run, change, words: str, axis: str, label: str
) -> None:
    run = make_run("a", "attacks")
    file = run / "attacks" / "latent_kl.npz"
    storage.write_npz(file, dataclasses.replace(AttackResult.from_arrays(storage.read_npz(file)), **change).to_arrays())
    source, _ = read(launcher.report([run]))
    assert f"<h3>{words}</h3>" in source and axis in source
    assert f'"label": {json.dumps(label)}' in source


def drawn_line(launcher, result: AttackResult, chart: str = "objective") -> tuple[Axes, np.ndarray]:
    """The axes of a chart of one model's attacks, and the (budget, median) that it draws."""
    data = results_report.measured_attack(result, (-1.0, 1.0))
    model = plots.ModelResults("a", "VAE", "a", 1, [], None, {"attack": data}, [], [], {}, {})
    axes = Figure().add_subplot()
    attack_charts(sweeps([model])[0])[chart](axes)
    return axes, axes.lines[0].get_xydata()


def test_a_median_of_zero_is_a_gap_of_a_logarithmic_axis_and_a_point_of_a_linear_one(launcher) -> None:
    fields = {"objective": np.array([[0.0, 1.0, 50.0], [0.0, 2.0, 60.0], [0.5, 3.0, 70.0]])}
    axes, line = drawn_line(launcher, made_up_result(**fields, budgets=np.array([1.0, 10.0, 100.0])))
    assert axes.get_yscale() == axes.get_xscale() == "log"
    np.testing.assert_array_equal(line, [[1.0, np.nan], [10.0, 2.0], [100.0, 60.0]])
    axes, line = drawn_line(launcher, made_up_result(**fields, budgets=np.array([1.0, 10.0, 100.0]), threat="l2_ball"))
    assert axes.get_yscale() == "linear" and axes.get_xscale() == "log"
    np.testing.assert_array_equal(line[:, 1], [0.0, 2.0, 60.0])


@pytest.mark.parametrize(
    ("threat", "budgets", "scale", "shown"),
    [
        ("penalty", [0.0, 1.0, 100.0], "log", [1.0, 100.0]),
        ("penalty", [0.0, 1.0, 5.0], "linear", [0.0, 1.0, 5.0]),
        ("l2_ball", [0.0, 1.0, 100.0], "linear", [0.0, 1.0, 100.0]),
        ("linf_ball", [0.3, 0.01, 0.1], "log", [0.01, 0.1, 0.3]),
        ("l2_ball", [2.0], "linear", [2.0]),
    ],
)
def test_budgets_are_drawn_in_order_on_an_axis_that_has_a_place_for_them(
    launcher, threat: str, budgets: list[float], scale: str, shown: list[float]
) -> None:
    objective = np.ones((2, len(budgets)))
    axes, line = drawn_line(launcher, made_up_result(objective=objective, budgets=np.array(budgets), threat=threat))
    assert axes.get_xscale() == scale
    np.testing.assert_array_equal(line[:, 0], shown)


def test_files_of_one_name_that_hold_different_attacks_are_not_drawn_together(launcher, make_run) -> None:
    a, b = make_run("a", "attacks"), make_run("b", "damage")
    (b / "attacks" / "maximum_damage_mean.npz").rename(b / "attacks" / "latent_kl.npz")
    _, page = read(launcher.report([a, b]))
    assert page.svgs == 4
    names = {file.name for file in (a.parent / "figures").iterdir()}
    assert {"attack_latent_kl.png", "attack_latent_kl~2.png"} <= names
    # The same attack in two files is told apart by these.
    storage.write_npz(a / "attacks" / "other.npz", storage.read_npz(a / "attacks" / "latent_kl.npz"))
    _, page = read(launcher.report([a]))
    assert "all layers; penalty λ ‖d‖ (latent_kl)" in section(page, "summary")
    assert "all layers; penalty λ ‖d‖ (other)" in section(page, "summary")


def certified(make_run, name: str, split: str = "validation", **changes) -> pathlib.Path:
    """A run with one certificate, changed. Where other margins are given, it is of as many images."""
    path = make_run(name)
    usual = made_up_runs.certificate()
    images = len(changes.get("radius", usual.radius))
    per_image = ("radius", "p_lower", "hits", "abstained", "norm_bound")
    resized = {field: np.resize(getattr(usual, field), images) for field in per_image}
    found = dataclasses.replace(usual, **{**resized, **changes})
    folder = "certificates" if split == "validation" else f"certificates_{split}"
    storage.write_npz(path / folder / f"{found.method}.npz", found.to_arrays())
    return path


def summarised(*paths: pathlib.Path) -> summary.Summary:
    """The summary of some runs alone."""
    of_run = results_report.of_run
    return summary.summary([of_run(runs.open(path), path.name) for path in paths])


def best_of(*paths: pathlib.Path) -> list[str]:
    """What the summary has in bold."""
    cells = [cell for row in summarised(*paths).table.rows for cell in row if isinstance(cell, Cell)]
    return [cell.words for cell in cells if cell.best]


def test_margins_are_bold_only_where_they_were_asked_the_same(make_run) -> None:
    a = certified(make_run, "a", radius=np.full(4, 2.0))
    assert best_of(a, certified(make_run, "same")) == ["2.00"]
    for name, change in {
        "method": {"method": "lipschitz"}, "draws": {"num_samples": 11}, "radius": {"reconstruction_radius": 5.0},
        "images": {"radius": np.array([0.0, 0.1]), "abstained": np.array([True, False])},
    }.items():  # fmt: skip
        assert best_of(a, certified(make_run, name, **change)) == []
    assert best_of(a, certified(make_run, "test", split="test")) == []


def attacked(make_run, name: str, **changes) -> pathlib.Path:
    """A run whose attacks go half way at once, or as `changes` say."""
    path = make_run(name, "attacks")
    file = path / "attacks" / "latent_kl.npz"
    found = AttackResult.from_arrays(storage.read_npz(file))
    found = dataclasses.replace(found, distance_left=np.zeros_like(found.distance_left), **changes)
    storage.write_npz(file, found.to_arrays())
    return path


def test_attacks_are_bold_only_under_the_same_budgets_and_delta_never(make_run) -> None:
    near, far = (np.tile(size * np.array([[1.0], [1.1], [1.2]]), (1, 5)) for size in (2.0, 3.0))
    objective = np.ones_like(near)
    a = attacked(make_run, "a", distortion_norm=near, objective=objective)
    b = attacked(make_run, "b", distortion_norm=far, objective=2.0 * objective)
    # Distortion, and what it takes to go half way and nine tenths.
    assert best_of(a, b) == ["3.30"] * 3
    # The same numbers, a model a row, to sort.
    assert [table.kind for _, table in summarised(a, b).turned] == ["numbers sortable dense"] * 2
    file = b / "attacks" / "latent_kl.npz"
    arrays = storage.read_npz(file)
    storage.write_npz(file, {**arrays, "budgets": 2.0 * arrays["budgets"]})
    assert best_of(a, b) == []


def test_a_value_whose_interval_overlaps_another_s_is_not_bold(make_run) -> None:
    a, b = (np.tile(size * np.array([[1.0], [1.1], [1.2]]), (1, 5)) for size in (2.0, 2.1))
    assert best_of(attacked(make_run, "a", distortion_norm=a), attacked(make_run, "b", distortion_norm=b)) == []


@pytest.mark.parametrize(
    ("direction", "values", "intervals", "best"),
    [
        ("higher", [3.0, 1.0], [(2.0, 4.0), (0.5, 1.5)], 0),
        ("lower", [3.0, 1.0], [(2.0, 4.0), (0.5, 1.5)], 1),
        ("higher", [3.0, 1.0], [(1.5, 4.0), (0.5, 1.5)], None),
        ("higher", [3.0, 1.0], [(2.0, 4.0), (np.nan, np.nan)], None),
        ("higher", [3.0, 1.0, 2.9], [(2.0, 4.0), (0.5, 1.5), (2.8, 3.0)], None),
        ("higher", [3.0, None, np.nan], [(2.0, 4.0), (np.nan, np.nan), (np.nan, np.nan)], None),
        ("higher", [np.inf, 1.0], [(np.inf, np.inf), (0.5, 1.5)], 0),
        ("higher", [3.0, 1.0], [], None),
        ("", [3.0, 1.0], [(2.0, 4.0), (0.5, 1.5)], None),
    ],
)
def test_the_best_value_is_clear_of_all_others(direction, values, intervals, best) -> None:
    assert summary.Measure("", "", direction, values, True, intervals=intervals).best == best
    assert summary.Measure("", "", direction, values, False, intervals=intervals).best is None


def test_certificates_of_test_images_are_shown_with_their_split(launcher, make_run) -> None:
    run = certified(make_run, "a")
    certified(lambda _: run, "a", split="test", radius=np.full(6, 1.5), abstained=np.zeros(6, bool))
    source, page = read(launcher.report([run]))
    found = section(page, "certificates")
    assert "4 validation" in found and "6 test" in found and "1.50" in found
    # A pair of charts for each, never one of both.
    assert page.svgs == 4
    assert "margins, spectral, test images" in source


def drawn_histogram(count: int) -> Axes:
    """The margins of so many methods."""
    data = dataclasses.replace(made_up_runs.certificate(), split="validation")
    axes = Figure().add_subplot()
    margin_histogram([(index, f"method {index}", data) for index in range(count)], "a")(axes)
    axes.figure.draw_without_rendering()
    return axes


def test_counts_have_whole_ticks_and_many_histograms_rows_of_their_own() -> None:
    axes = drawn_histogram(1)
    assert np.all(axes.get_yticks() % 1.0 == 0.0) and len(axes.get_yticks()) > 1
    axes = drawn_histogram(4)
    floors = [float(np.max(patch.get_data().baseline)) for patch in axes.patches]
    tops = [float(np.max(patch.get_data().values)) for patch in axes.patches]
    assert sorted(set(floors)) == [0, 1, 2, 3] and len(axes.get_yticks()) == 0
    assert all(top < floor + 1 for floor, top in zip(floors, tops, strict=True))
    assert [label.get_text() for label in axes.texts] == [f"method {index}" for index in range(4)]


@pytest.mark.parametrize(
    ("methods", "named"),
    [(("hybrid", "spectral"), ["a\nhybrid", "b\nspectral"]), (("hybrid", "hybrid"), ["a", "b"])],
)
@pytest.mark.parametrize("chart", [margin_histogram, certified_fraction])
def test_a_chart_that_compares_two_methods_says_so(chart, methods: tuple[str, str], named: list[str]) -> None:
    data = made_up_runs.certificate()
    found = [dataclasses.replace(data, method=method) for method in methods]
    axes = Figure().add_subplot()
    chart([(index, name, one) for index, (name, one) in enumerate(zip("ab", found, strict=True))], "what")(axes)
    assert sorted(words.get_text() for words in axes.texts) == named


@pytest.mark.parametrize(("factor", "scale"), [(2.0, "linear"), (100.0, "log")])
def test_certified_against_attacked_keeps_the_diagonal_in_the_middle(factor: float, scale: str) -> None:
    found = dataclasses.replace(made_up_runs.certificate(), split="validation")
    ones = np.ones((4, 2))
    shown = EmpiricalMargin(
        factor * found.radius, ones, ones[:, 0], ones[:, 0], ones, ones, 1e-3, 0.5, 4.0, 10, 5, "l2", split="validation"
    )
    axes = Figure().add_subplot()
    certified_against_empirical([Compared(0, "a", found, shown)], "spectral")(axes)
    assert axes.get_xscale() == axes.get_yscale() == scale
    assert axes.get_xlim() == axes.get_ylim() and axes.get_xlim()[1] > 0.75 * factor
    # The abstention has no place on a logarithmic axis, and is counted.
    assert ("1 without a certificate" in axes.get_title()) == (scale == "log")
    axes, other = Figure().add_subplot(), dataclasses.replace(found, method="hybrid")
    certified_against_empirical([Compared(0, "a", found, shown), Compared(1, "b", other, shown)], "both")(axes)
    assert [words.get_text() for words in axes.get_legend().get_texts()][:2] == ["a, spectral", "b, hybrid"]


def test_the_measures_of_an_evaluation(launcher, make_run) -> None:
    run = make_run("a", "evaluation")
    _, page = read(launcher.report([run]))
    found = section(page, "measures")
    assert "elbo/elbo nats" in found and f"{text.MINUS}12.5" in found and "active units/active 1 3.00" in found
    assert "options" not in found
    storage.write_json(run / "evaluation.json", {"measures": []})
    with pytest.raises(ValueError, match=r"evaluation\.json lacks step, skipped; .*this is not an evaluation"):
        launcher.report([run])


def evaluated(path: pathlib.Path, **elbo: object) -> pathlib.Path:
    """A run with such a measure "elbo"."""
    storage.write_json(path / "evaluation.json", {"step": None, "measures": {"elbo": elbo}, "skipped": {}})
    return path


@pytest.mark.parametrize(("determined", "shown"), [(True, "1.00"), (False, "0")])
def test_the_measures_of_a_hierarchy_say_whether_a_term_is_determined(launcher, make_run, determined, shown) -> None:
    ends = {"total_correlation_nats_lower": 4.0, "total_correlation_nats_upper": 4.125, "paths": 16}
    path = evaluated(make_run("a", latent_sizes=(4, 2)), **ends, total_correlation_nats_determined=determined)
    _, page = read(launcher.report([path]))
    found = section(page, "measures")
    assert "nats lower 4.00" in found and "nats upper 4.12" in found
    assert f"elbo/total correlation nats determined {shown}" in found


def test_one_number_in_place_of_a_bracket_is_left_out(launcher, make_run, capsys) -> None:
    """An earlier version gave total correlation as one number for hierarchies too."""
    earlier = {"elbo_nats": -12.5, "total_correlation_nats": 4.0, "total_correlation_nats_error": 0.5}
    of_layers = {layers: evaluated(make_run(f"L{len(layers)}", latent_sizes=layers), **earlier) for layers in LAYERS}
    _, page = read(launcher.report([of_layers[4, 2]]))
    found = section(page, "measures")
    assert f"elbo/elbo nats {text.MINUS}12.5" in found and "total correlation" not in found
    words = "L2/evaluation.json: bracket not measured by that version; evaluate again\n"
    assert capsys.readouterr().err.endswith(words)
    _, page = read(launcher.report([of_layers[(4,)]]))
    assert "elbo/total correlation nats 4.00" in section(page, "measures") and not capsys.readouterr().err


def test_many_galleries_share_the_page(launcher) -> None:
    result = made_up_runs.attack(np.random.default_rng(0), (32, 32, 3), pairs=4, budgets=20)
    data = results_report.measured_attack(result, (-1.0, 1.0), {})
    tiles = [len(shown_pairs(data, count)) * len(slider_steps(data, count)) for count in (1, 10, 40, 400)]
    assert tiles[0] == 4 * 17 and tiles[1:] == sorted(tiles[1:], reverse=True) and tiles[3] == 3
    # Bytes of all pictures that sliders carry, as they are before compression.
    assert 40 * tiles[2] * 5 * 32 * 32 * 3 <= 8_000_000


def test_results_of_the_former_format_are_refused(launcher, make_run) -> None:
    run = make_run("a", "attacks")
    file = run / "attacks" / "latent_kl.npz"
    arrays = dict(storage.read_npz(file))
    arrays["penalties"], arrays["divergence"] = arrays.pop("budgets"), arrays.pop("distance")
    storage.write_npz(file, arrays)
    with pytest.raises(
        ValueError,
        match=r"latent_kl\.npz: this is not a sweep of attacks: budgets, distance missing; if an earlier version",
    ):
        launcher.report([run])


def test_the_browser_runs_the_page_s_own_script_alone(launcher, make_run) -> None:
    source, _ = read(launcher.report([make_run("a")]))
    (script,) = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in source


def test_words_from_files_are_escaped(launcher, make_run) -> None:
    run = make_run("<b>$x$&amp;", *ALL, extra=ALARM)
    other = make_run("b", *ALL)
    source, page = read(launcher.report([run, other]))
    assert ALARM not in source
    assert ALARM in page.text["settings"]
    # The page's own: one of data for each model's slider, one of code.
    assert [script.get("type") for script in page.scripts] == ["application/json", "application/json", None]
    assert "<b>$x$&amp;" in page.text["summary"]
    # In a chart, where $x$ could be taken for a formula.
    assert re.search(r"<text [^>]*>&lt;b&gt;\$x\$&amp;amp;</text>", source)


def test_a_script_as_the_name_of_a_run_or_a_file_is_text(launcher, make_run, tmp_path: pathlib.Path) -> None:
    run, other = make_run(ALARM, *ALL), make_run("b/script>", "attacks")
    arrays = storage.read_npz(run / "attacks" / "latent_kl.npz")
    storage.write_npz(run / "attacks" / "<script>alert(2)<!--.npz", arrays)
    source, page = read(launcher.report([run, other], tmp_path / "page.html", command=ALARM))
    assert "<script>alert" not in source and page.open == []
    # One gallery for each attack of each model, and the page's own code.
    assert [script.get("type") for script in page.scripts] == ["application/json"] * 3 + [None]
    assert ALARM in page.text["answers"] and "<script>alert(2)<!--" in page.text["attacked-images"]


def test_galleries_open_at_one_size_of_the_distortion(launcher, make_run) -> None:
    norms = {"a": np.array([4.0, 3.0, 2.0, 1.0, 0.0]), "b": np.array([7.0, 6.0, 5.0, 2.5, 0.0])}
    names = [attacked(make_run, name, distortion_norm=np.tile(found, (3, 1))) for name, found in norms.items()]
    for name in names:
        file = name / "attacks" / "latent_kl.npz"
        # The largest two distortions go half way: 3 on one model, 6 on the other.
        left = np.tile([0.0, 0.0, 9.0, 9.0, 9.0], (3, 1))
        found = dataclasses.replace(AttackResult.from_arrays(storage.read_npz(file)), distance_left=left)
        storage.write_npz(file, dataclasses.replace(found, distance_at_start=np.full(3, 9.0)).to_arrays())
    _, page = read(launcher.report(names))
    shown = section(page, "attacked-images")
    assert shown.count("each pair near ‖d‖ = 4.50") == 4
    assert shown.count("‖d‖ = 4.00 · 100 % of the way") == shown.count("‖d‖ = 5.00 · 0 % of the way") == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sections", "launched"),
    [
        ("attacks", ("attacked-images", "attack-curves", "trust"), "seatbelt attack --run="),
        ("certificates", ("certificates",), "seatbelt certify --run="),
        ("samples", ("looks",), "seatbelt train --config=CONFIG --workdir="),
        ("metrics", ("learning",), "seatbelt train --config=CONFIG --workdir="),
    ],
)
def test_what_is_absent_is_named_with_its_command(
    launcher, make_run, kind: str, sections: tuple[str, ...], launched: str
) -> None:
    run = make_run("a", *(set(ALL) - {kind}))
    _, page = read(launcher.report([run]))
    for name in sections:
        assert f"{launched}{run}" in page.text[name]
    assert all(name in page.ids for name in SECTIONS)


def test_a_run_of_which_there_is_nothing_yet(launcher, make_run) -> None:
    run = make_run("a", latent_sizes=(4, 2))
    written = launcher.report([run])
    assert written == run / "report.html"
    _, page = read(written)
    assert all(name in page.ids for name in SECTIONS)
    assert "a has no certificate: only attacks tell about it" in " ".join(page.text["not-certified"].split())
    assert page.svgs == 0 and page.images == []


def test_models_without_a_result_stand_beside_those_with_it(launcher, make_run) -> None:
    a, b = make_run("a", *ALL), make_run("b")
    _, page = read(launcher.report([a, b]))
    assert f"seatbelt attack --run={b}" in page.text["trust"]
    assert f"seatbelt attack --run={a}" not in page.text["trust"]


def test_not_finite_numbers_are_shown_as_such(launcher, make_run) -> None:
    run = make_run("a", *ALL)
    file = run / "attacks" / "latent_kl.npz"
    arrays = storage.read_npz(file)
    arrays["distance_left"][:] = 100.0
    for name in ("objective", "negative_log_likelihood", "adversarial", "adversarial_reconstructions"):
        arrays[name][:, 2] = np.nan
    arrays["status"][:, 2] = Status.NON_FINITE
    storage.write_npz(file, arrays)
    _, page = read(launcher.report([run]))
    assert "∞" in page.text["summary"]
    assert "lost: the model gave no finite value" in page.text["trust"]


def test_negative_log_densities_and_a_penalty_of_zero(launcher, make_run) -> None:
    run = make_run("a", "attacks")
    file = run / "attacks" / "latent_kl.npz"
    arrays = storage.read_npz(file)
    arrays["negative_log_likelihood"] -= 1000.0
    arrays["budgets"][0] = 0.0
    storage.write_npz(file, arrays)
    source, page = read(launcher.report([run]))
    assert page.svgs == 3
    # A linear axis reaches below zero.
    assert f">{text.MINUS}99" in source


def test_the_cost_of_attacks_is_the_least_norm_that_gets_there(make_run) -> None:
    path = attacked(make_run, "a", distortion_norm=np.tile([4.0, 3.0, 2.0, 1.0, 0.0], (3, 1)))
    file = path / "attacks" / "latent_kl.npz"
    # Half way at 2, 3 and never; nine tenths at 3 and never.
    left = np.array([[0.0, 0.5, 4.0, 8.0, 9.0], [4.0, 4.0, 6.0, 8.0, 9.0], [6.0, 6.0, 6.0, 8.0, 9.0]])
    found = dataclasses.replace(AttackResult.from_arrays(storage.read_npz(file)), distance_left=left)
    storage.write_npz(file, dataclasses.replace(found, distance_at_start=np.full(3, 9.0)).to_arrays())
    axes = Figure().add_subplot()
    charts_of([results_report.of_run(runs.open(path), "a")])["attack_latent_kl"]["cost"](axes)
    half_way, nine_tenths = (line.get_xydata().tolist() for line in axes.lines)
    assert half_way == [[0.0, 0.0], [2.0, 1 / 3], [3.0, 2 / 3], [4.0, 2 / 3]]
    assert nine_tenths == [[0.0, 0.0], [3.0, 1 / 3], [4.0, 1 / 3]]


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figures_of_a_run_for_papers(make_run, tmp_path: pathlib.Path, kind: str, begins: bytes, capsys) -> None:
    path = make_run("$x$&<b>", "attacks", "certificates")
    with launchers.given("figures", f"--run={path}", f"--format={kind}", f"--output={tmp_path / 'out'}") as command:
        command.main()
    names = ["attack_latent_kl", "certified_margins", "attacked_images_latent_kl__x_b_"]
    files = [tmp_path / "out" / f"{name}.{kind}" for name in names]
    assert [pathlib.Path(line) for line in capsys.readouterr().out.splitlines()] == files
    first = [file.read_bytes() for file in files]
    assert all(content.startswith(begins) for content in first)
    # Journals take no fonts of Type 3; and the same results make the same files.
    assert not any(b"/Type3" in content or b"font-family" in content for content in first)
    build.figures_of_runs([path], tmp_path / "out", kind)
    assert [file.read_bytes() for file in files] == first


def test_what_figures_of_runs_refuse(make_run) -> None:
    empty = make_run("empty")
    assert "empty can be drawn; seatbelt attack and seatbelt certify" in launchers.refusal("figures", f"--run={empty}")
    message = "--sweep, --figure and --docs draw figures of the papers, --run those of runs"
    assert message in launchers.refusal("figures", f"--run={empty}", "--figure=w21_3")


def test_output_and_names(launcher, make_run, tmp_path: pathlib.Path) -> None:
    a, b = make_run("one/same"), make_run("two/same")
    written = launcher.report([a, b], tmp_path / "new" / "page.html")
    _, page = read(written)
    assert written == tmp_path / "new" / "page.html"
    assert "one/same" in page.text["summary"] and "two/same" in page.text["summary"]
    with pytest.raises(ValueError, match="in different directories; name a file for the page"):
        launcher.report([a, b])
    assert launcher.report([a, make_run("one/other")]) == tmp_path / "one" / "report.html"
    with pytest.raises(ValueError, match="is a directory; name the file"):
        launcher.report([a], tmp_path)


def test_images_of_different_sizes_do_not_compare(launcher, make_run) -> None:
    a, b = make_run("a"), make_run("b", shape=(16, 16, 1))
    with pytest.raises(ValueError, match=r"a has images of 8 x 8 x 1 and .*b of 16 x 16 x 1"):
        launcher.report([a, b])


def test_the_same_run_twice(launcher, make_run) -> None:
    a = make_run("a")
    with pytest.raises(ValueError, match="given twice"):
        launcher.report([a, a / ".." / "a"])


def test_no_run_and_half_a_run(launcher, make_run, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        launcher.report([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty or not a run"):
        launcher.report([tmp_path / "empty"])
    run = make_run("a")
    storage.write_json(run / "config.json", {"config": {}, "image_shape": [8, 8, 1], "provenance": {}})
    with pytest.raises(ValueError, match=r"config\.json: config lacks data, model"):
        launcher.report([run])


@pytest.mark.parametrize("file", ["attacks/latent_kl.npz", "certificates/spectral.npz", "samples.npz"])
@pytest.mark.parametrize("damage", ["cut", "other"])
def test_damaged_results_name_the_file(launcher, make_run, file: str, damage: str) -> None:
    run = make_run("a", *ALL)
    path = run / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        storage.write_npz(path, {"unrelated": np.zeros(2)})
    with pytest.raises(ValueError, match=re.escape(str(path))):
        launcher.report([run])
    assert not (run / "report.html").exists()


def test_damaged_metrics_name_the_line(launcher, make_run) -> None:
    run = make_run("a", "metrics")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "split": "train", "elbo": "x"}\n')
    with pytest.raises(ValueError, match=r"line 5 of .*metrics\.jsonl: elbo must be"):
        launcher.report([run])


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("log p(xᵗ|z*), ‖d‖", "log <i>p</i>(<i>x</i><sup>t</sup>|<i>z</i>*), ‖<i>d</i>‖"),
        ("d_z & L", "<i>d<sub>z</sub></i> &amp; <i>L</i>"),
        ("the target’s own AUDDC <b>", "the target’s own AUDDC &lt;<i>b</i>&gt;"),
    ],
)
def test_variables_of_formulas_are_italic(words: str, shown: str) -> None:
    assert formula(words) == shown


def test_image_grid_places_and_scales() -> None:
    images = np.stack([np.full((2, 3, 1), level) for level in (-1.0, 1.0, 0.0, 5.0, -5.0, np.nan)]).reshape(
        2, 3, 2, 3, 1
    )
    grid = np.asarray(Image.open(io.BytesIO(plots.image_grid(images, (-1.0, 1.0), scale=2))))
    assert grid.shape == (2 * (2 * 2 + 1), 2 * (3 * 3 + 2)) and grid.dtype == np.uint8
    tile = grid.reshape(5, 2, 11, 2)
    assert (tile == tile[:, :1, :, :1]).all()  # nearest neighbour
    pixels = tile[:, 0, :, 0]
    assert [pixels[row, column] for row in (0, 3) for column in (0, 4, 8)] == [0, 255, 128, 255, 0, 0]
    assert len({*pixels[2], *pixels[:, 3], *pixels[:, 7]}) == 1  # the gaps


def test_image_grid_in_colour_and_by_default() -> None:
    images = np.zeros((1, 2, 32, 32, 3))
    images[..., 0] = 1.0
    picture = Image.open(io.BytesIO(plots.image_grid(images, (0.0, 1.0))))
    assert picture.mode == "RGB" and picture.size == (3 * 65, 3 * 32)
    assert picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (1, 1, 8, 8, 2), (0, 1, 8, 8, 1)])
def test_image_grid_takes_grids_only(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a grid takes images"):
        plots.image_grid(np.zeros(shape), (0.0, 1.0))


def test_image_grid_takes_a_range() -> None:
    with pytest.raises(ValueError, match="low < high"):
        plots.image_grid(np.zeros((1, 1, 8, 8, 1)), (1.0, 1.0))
    with pytest.raises(ValueError, match="scale"):
        plots.image_grid(np.zeros((1, 1, 8, 8, 1)), (0.0, 1.0), scale=0)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"), (11.1926, "11.2"), (9.996, "10.0"), (0.0050659, "0.00507"), (-1464.76, "\u22121\u2009465"),
        (1.5e7, "1.5 \u00d7 10⁷"), (1e-6, "10⁻⁶"), (float("inf"), "∞"), (float("nan"), "\u2013"), (None, "\u2013"),
        (999.7, "1\u2009000"), (2.0, "2.00"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_percentages_do_not_round_to_all_or_nothing() -> None:
    assert [text.percent(share) for share in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        "0 %",
        "< 1 %",
        "50 %",
        "> 99 %",
        "100 %",
    ]
