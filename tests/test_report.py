"""The report on runs: every section, nothing from elsewhere, nothing of a file taken for HTML, hints, bad input."""

import base64
import dataclasses
import hashlib
import html.parser
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

from seatbelt_jax import bounds, metrics, plots, storage
from seatbelt_jax.attacks import AttackResult, Status
from seatbelt_jax.attacks.diagnose import MEANING
from seatbelt_jax.plots import text
from seatbelt_jax.plots.attacks import attack_charts
from seatbelt_jax.plots.sweeps import sweeps
from tests import launchers
from tests.reference.made_up_attacks import made_up_result

SECTIONS = (
    "introduction", "summary", "attacked-images", "attack-curves", "trust", "certificates", "not-certified", "looks",
    "learning", "settings",
)  # fmt: skip
SHAPE = (8, 8, 1)
ALARM = "<script>alert(1)</script>"
VOID = {"meta", "br", "img", "input"}


class Page(html.parser.HTMLParser):
    """What a page holds: ids, images, scripts, and text by section."""

    def __init__(self, source: str):
        super().__init__()
        self.ids: list[str] = []
        self.images: list[str] = []
        self.references: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.text: dict[str | None, str] = {}
        self.words: dict[str | None, list[str]] = {}
        self.svgs = 0
        self.open: list[str] = []
        self._section: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if name := found.get("id"):
            self.ids.append(name)
        self.references += [found[name] or "" for name in ("src", "href", "xlink:href", "data") if name in found]
        if tag == "img":
            self.images.append(found["src"] or "")
        self.svgs += tag == "svg"
        if tag == "script":
            self.scripts.append(found)
        if tag == "section":
            self._section = found.get("id")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self._section = None

    def handle_data(self, data: str) -> None:
        self.text[self._section] = self.text.get(self._section, "") + data
        self.words.setdefault(self._section, []).extend(data.split())


@pytest.fixture
def launcher() -> types.ModuleType:
    return launchers.load("report")


@pytest.fixture
def make_run(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Writes a run with fake results of the kinds that are asked for."""

    def make(
        name: str,
        *kinds: str,
        latent_sizes: tuple[int, ...] = (4,),
        shape: tuple[int, int, int] = SHAPE,
        extra: str = "x",
        seed: int = 0,
    ) -> pathlib.Path:
        path = tmp_path / name
        config = {
            "data": {"name": extra, "image_size": shape[0]},
            "model": {"latent_sizes": list(latent_sizes), "likelihood": "gaussian", "network": "mlp"},
            "objective": {"beta": 8.0, "penalty": "total_correlation"},
        }
        provenance = {"git_revision": "abc123", "device": "1 x cpu", "versions": {"jax": "9.9.9"}}
        record = {"config": config, "image_shape": list(shape), "provenance": provenance}
        storage.write_json(path / "config.json", record)
        rng = np.random.default_rng(seed)
        if "metrics" in kinds:
            write_metrics(path, len(latent_sizes))
        if "samples" in kinds:
            look = {key: rng.uniform(-1, 1, (16, *shape)) for key in ("images", "reconstructions", "samples")}
            storage.write_npz(path / "samples.npz", {**look, "step": 20, "image_low": -1.0, "image_high": 1.0})
        if "attacks" in kinds:
            storage.write_npz(path / "attacks" / "latent_kl.npz", attack(rng, shape).to_arrays())
        if "damage" in kinds:
            storage.write_npz(path / "attacks" / "maximum_damage_mean.npz", damage(rng, shape).to_arrays())
        if "certificates" in kinds:
            storage.write_npz(path / "certificates" / "spectral.npz", certificate().to_arrays())
        return path

    return make


def write_metrics(path: pathlib.Path, layers: int) -> None:
    rows = []
    for step in (10, 20):
        shared = {"elbo": -100.0 / step, "log_likelihood": -50.0 / step}
        shared |= {f"kl_{layer}": float(step) for layer in range(1, layers + 1)}
        rows.append({"step": step, "split": "train", **shared, "total_correlation_mws": 3.0})
        last = {"total_correlation_mss": 1.0, "reconstruction_error": 100.0 + step}
        rows.append({"step": step, "split": "validation", **shared, **last})
    storage.write_bytes(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())


def attack(rng: np.random.Generator, shape: tuple[int, ...], pairs: int = 3, budgets: int = 5) -> AttackResult:
    """A penalty sweep over distances c (1 - ||d||)^2, solved; but the first pair's attacks ran out of iterations."""
    penalties, c = np.geomspace(2.0**-20, 2.0**20, budgets), rng.uniform(5.0, 9.0, (pairs, 1))
    norm = np.maximum(0.0, 1.0 - penalties / (2.0 * c))
    status = np.full((pairs, budgets), Status.CONVERGED)
    status[0] = Status.MAX_ITERATIONS
    images = ("sources", "targets", "source_reconstructions", "target_reconstructions")
    attacked = ("adversarial", "adversarial_reconstructions")
    return made_up_result(
        objective=c * (1.0 - norm) ** 2 + penalties * norm,
        distance=c * (1.0 - norm) ** 2,
        distortion_norm=norm,
        budgets=penalties,
        status=status,
        **{name: rng.uniform(-1, 1, (pairs, *shape)) for name in images},
        **{name: rng.uniform(-1, 1, (pairs, budgets, *shape)) for name in attacked},
        **{name: rng.uniform(1, 9, (pairs, budgets)) for name in ("negative_log_likelihood", "distance_left")},
        source_log_likelihood=np.full((pairs, budgets), -2.0),
        clean_negative_log_likelihood=np.ones(pairs),
        distance_at_start=rng.uniform(1, 9, pairs),
    )


def damage(rng: np.random.Generator, shape: tuple[int, ...]) -> AttackResult:
    """Maximum damage in L2 balls, radii not in order; three times the radius, but that the last attack found half."""
    radii = np.array([2.0, 0.5, 1.0, 1.5])
    objective = np.tile(-3.0 * radii, (3, 1))
    objective[2, 3] *= 0.5
    nothing = np.full(objective.shape, np.nan)
    return dataclasses.replace(
        attack(rng, shape, budgets=4),
        name="maximum_damage_mean",
        unit="pixel units",
        targeted=False,
        threat="l2_ball",
        budgets=radii,
        objective=objective,
        distance=objective,
        start_objectives=objective[..., None],
        repeated_objective=objective,
        distortion_norm=np.tile(radii, (3, 1)),
        status=np.full(objective.shape, Status.CONVERGED),
        negative_log_likelihood=nothing,
        distance_left=nothing,
    )


def certificate() -> bounds.Certificate:
    radius = np.array([0.0, 0.25, 0.5, 0.75])
    return bounds.Certificate(
        radius=radius,
        p_lower=np.array([0.4, 0.9, 0.9, 0.9]),
        hits=np.array([4, 9, 9, 9]),
        abstained=radius == 0.0,
        norm_bound=np.ones(4),
        norms=None,
        method="spectral",
        soundness="first_order",
        assumptions=("frozen <sigma>",),
        alpha=1e-3,
        risk=0.5,
        reconstruction_radius=4.0,
        num_samples=10,
    )


def read(path: pathlib.Path) -> tuple[str, Page]:
    source = path.read_text()
    return source, Page(source)


ALL = ("metrics", "samples", "attacks", "certificates")


def test_all_sections_with_all_results(launcher, make_run) -> None:
    a = make_run("a", *ALL, latent_sizes=(4, 2))
    b = make_run("b", *ALL, seed=1)
    written = launcher.report([a, b], command="python launch/report.py --run=a")
    assert written.resolve() == (a.parent / "report.html").resolve()
    source, page = read(written)
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert len(page.ids) == len(set(page.ids))
    assert page.open == []
    # 2 charts of attacks, 2 of margins, and 6 metrics: the second layer's KL is one.
    assert page.svgs == 10
    # Three pictures for each of three pairs, reconstructions and samples; of two models.
    assert len(page.images) == 2 * (3 * 3 + 2)
    assert "There are no" not in source
    assert "Seatbelt-VAE, 2 layers of 4, 2 latents, β = 8" in page.text[None]
    assert "β-TCVAE, 4 latents, β = 8" in page.text[None]
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
def test_every_model_is_called_by_its_name(launcher, name, words) -> None:
    config = importlib.import_module(f"configs.{name}").get_config().to_dict()
    assert launcher._kind(config) == words


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


def section(page: Page, name: str) -> str:
    """The words of a section, one space between them, cells of tables too."""
    return " ".join(page.words[name])


def test_every_attack_has_its_own_part(launcher, make_run) -> None:
    a, b = make_run("a", "attacks", "damage"), make_run("b", "damage", seed=1)
    source, page = read(launcher.report([a, b]))
    titles = ("Latent attack, KL divergence, all layers; penalty λ ‖d‖",
              "Maximum damage through the means; ‖d‖ within a radius")  # fmt: skip
    for name in ("summary", "attacked-images", "attack-curves", "trust"):
        found = section(page, name)
        assert 0 <= found.index(titles[0]) < found.index(titles[1]), name
    # Both charts of the targeted attack, and one of the other, which has no target to be likely.
    assert page.svgs == 3
    assert "attack objective Δ, nats" in source and "penalty λ, nats per unit of distortion" in source
    assert f"attack objective Δ = {text.MINUS}damage, pixel units" in source and "radius, L2 in pixel units" in source
    # Three pictures for each of three pairs; two without targets, on two models.
    assert len(page.images) == 3 * 3 + 2 * 3 * 2
    assert source.count("the attacker&rsquo;s target") == 1
    names = {file.name for file in (a.parent / "figures").iterdir()}
    assert {"attack_maximum_damage_mean.png", "attacked_images_maximum_damage_mean_b.png"} <= names
    with Image.open(a.parent / "figures" / "attacked_images_maximum_damage_mean_b.png") as grid:
        scale = grid.size[1] // (3 * 8 + 2)
        assert grid.size == ((5 * 8 + 4) * scale, (3 * 8 + 2) * scale)


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
    area = "area under the curve of distortions up to that of the images; median ↑"
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
    assert f"restart improved {MEANING['restart_improved']} not tested 25 %" in trust
    assert f"beaten by another budget {MEANING['beaten_by_another_budget']} 8 % 0 %" in trust
    # 8 % of one model's are too few to warn of.
    assert "Weak attacks: 25 % of those on b show a sign of weakness." in trust
    assert "not found: iteration limit, line search failed, non finite, zero gradient, random objective, " in trust
    assert "Not tested" not in trust
    _, page = read(launcher.report([a]))
    assert f"Not tested: restart improved ({MEANING['restart_improved']})" in section(page, "trust")


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
    data = launcher._attack(pathlib.Path("attack.npz"), result.to_arrays(), (-1.0, 1.0))
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
    assert page.svgs == 3
    names = {file.name for file in (a.parent / "figures").iterdir()}
    assert {"attack_latent_kl.png", "attack_latent_kl~2.png"} <= names
    # The same attack in two files is told apart by these.
    storage.write_npz(a / "attacks" / "other.npz", storage.read_npz(a / "attacks" / "latent_kl.npz"))
    _, page = read(launcher.report([a]))
    assert "all layers; penalty λ ‖d‖ (latent_kl)" in section(page, "summary")
    assert "all layers; penalty λ ‖d‖ (other)" in section(page, "summary")


def test_results_of_the_former_format_are_refused(launcher, make_run) -> None:
    run = make_run("a", "attacks")
    file = run / "attacks" / "latent_kl.npz"
    arrays = dict(storage.read_npz(file))
    arrays["penalties"], arrays["divergence"] = arrays.pop("budgets"), arrays.pop("distance")
    storage.write_npz(file, arrays)
    with pytest.raises(
        ValueError,
        match=r"latent_kl\.npz: these are not attack results, or of an earlier version: budgets, distance missing",
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


@pytest.mark.parametrize(
    ("kind", "sections", "launched"),
    [
        ("attacks", ("attacked-images", "attack-curves", "trust"), "launch/attack.py --run="),
        ("certificates", ("certificates",), "launch/certify.py --run="),
        ("samples", ("looks",), "launch/train.py --config=CONFIG --workdir="),
        ("metrics", ("learning",), "launch/train.py --config=CONFIG --workdir="),
    ],
)
def test_what_is_absent_is_named_with_its_command(
    launcher, make_run, kind: str, sections: tuple[str, ...], launched: str
) -> None:
    run = make_run("a", *(set(ALL) - {kind}))
    _, page = read(launcher.report([run]))
    for section in sections:
        assert f"python {launched}{run}" in page.text[section]
    assert all(name in page.ids for name in SECTIONS)


def test_a_run_of_which_there_is_nothing_yet(launcher, make_run) -> None:
    run = make_run("a", latent_sizes=(4, 2))
    written = launcher.report([run])
    assert written == run / "report.html"
    _, page = read(written)
    assert all(name in page.ids for name in SECTIONS)
    assert "a has no certificate: only attacks can speak about it" in " ".join(page.text["not-certified"].split())
    assert page.svgs == 0 and page.images == []


def test_models_without_a_result_stand_beside_those_with_it(launcher, make_run) -> None:
    a, b = make_run("a", *ALL), make_run("b")
    _, page = read(launcher.report([a, b]))
    assert f"launch/attack.py --run={b}" in page.text["trust"]
    assert f"launch/attack.py --run={a}" not in page.text["trust"]


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
    assert page.svgs == 2
    # A linear axis reaches below zero.
    assert f">{text.MINUS}99" in source


def test_output_and_names(launcher, make_run, tmp_path: pathlib.Path) -> None:
    a, b = make_run("one/same"), make_run("two/same")
    written = launcher.report([a, b], tmp_path / "new" / "page.html")
    _, page = read(written)
    assert written == tmp_path / "new" / "page.html"
    assert "one/same" in page.text["summary"] and "two/same" in page.text["summary"]
    with pytest.raises(ValueError, match="in different directories; say where the page goes"):
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
    with pytest.raises(ValueError, match=r"config\.json lacks data, model"):
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
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 5"):
        launcher.report([run])


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
