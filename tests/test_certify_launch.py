"""launch/certify.py on tiny runs: every method and norm, what is written, interruptions, figures, what is refused."""

import csv
import dataclasses
import functools
import io
import json
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import sprites_seatbelt, sprites_vae
from seatbelt_jax import bounds, data, models, program, runs, storage
from seatbelt_jax.bounds import pathwise_bounds
from seatbelt_jax.jobs import certification as certification_job
from seatbelt_jax.jobs import certify as certify_job
from seatbelt_jax.plots.certificates import main_certificate
from seatbelt_jax.report import results as results_report
from seatbelt_jax.report import runs_page
from seatbelt_jax.runs.checkpoint import Checkpoints
from tests import launchers
from tests.compilations import counted

ONE_LAYER = ("camuto", "spectral", "antithetic", "moving_std")
QUICK: dict[str, Any] = {"images": 3, "samples": 30, "radius": 40.0, "sound": False}


@pytest.fixture(scope="module")
def launcher():
    return certify_job


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"images": 0}, r"certify\.images must be at least 1, got 0"),
        ({"methods": "spectral"}, r"certify\.methods must be a list of texts, got 'spectral'"),
        ({"samples": 10**9}, r"certify\.samples must be at most 1e\+08"),
        ({"radius": 0.0}, "radius must be a positive, finite"),
        ({"alpha": 1.0}, "alpha must lie strictly between"),
        ({"risk": "0.5"}, r"certify\.risk must be a finite number, got '0.5'"),
        ({"norm": "l1"}, r"norm must be one of l2, linf"),
        ({"split": "train"}, r"certify\.split must be one of validation, test"),
        ({"seed": -1}, r"certify\.seed must be a whole number >= 0"),
    ],
)
def test_options_made_in_python_are_refused_as_flags_are(launcher, option, message):
    with pytest.raises(ValueError, match=message):
        launcher.Options(**option)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of one layer and one of two, on sprites of 16 x 16, not trained."""
    folder = tmp_path_factory.mktemp("runs")
    for name, config, sizes in (("one", sprites_vae, (4,)), ("two", sprites_seatbelt, (3, 2))):
        settings = config.get_config("smoke").to_dict()
        settings["data"] = {"name": "sprites", "image_size": 16}
        settings["model"] |= {"latent_sizes": sizes, "network": "mlp", "widths": (8,), "hidden_sizes": (8,)}
        opened = runs.prepare(folder / name, settings, (16, 16, 1))
        with Checkpoints(opened.path / "checkpoints") as checkpoints:
            checkpoints.save(4, variables=opened.model.init(jax.random.key(0)), training={"step": np.zeros(())})
    return folder


@pytest.fixture
def one(folders, tmp_path):
    return shutil.copytree(folders / "one", tmp_path / "one")


@pytest.fixture
def two(folders, tmp_path):
    return shutil.copytree(folders / "two", tmp_path / "two")


@pytest.fixture
def quick_attacks(monkeypatch):
    """Attacks that hardly search on several layers; of one layer made-up ones, of which the first two found something:
    what they find is not at issue here."""
    attack = bounds.empirical_margin

    def quick(model, decode, images, **asked):
        if model.levels is not None:
            return attack(model, decode, images, search_samples=8, restarts=1, steps=2, norms=(8.0,), **asked)
        assert model.decode(model.encode(images[0]).mean).shape == images[0].shape
        upper = np.where(np.arange(len(images)) < 2, np.linspace(1e-3, 2.0, len(images)), np.inf)
        return bounds.EmpiricalMargin(
            upper=upper,
            distortion=np.zeros(images.shape),
            p_upper=np.full(len(images), 0.3),
            p_clean=np.ones(len(images)),
            curve_norms=np.tile(np.linspace(0.0, 3.0, 4), (len(images), 1)),
            curve_probability=np.tile(np.linspace(1.0, 0.0, 4), (len(images), 1)),
            alpha=asked["alpha"],
            risk=asked["risk"],
            reconstruction_radius=asked["radius"],
            num_samples=asked["num_samples"],
            num_tried=5,
            norm=asked["norm"],
            frozen_std=asked["frozen_std"],
            image_range=None,
        )

    monkeypatch.setattr(bounds, "empirical_margin", quick)


def table(path, name):
    with (path / "certificates" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def certificate(path, name):
    return bounds.Certificate.from_arrays(storage.read_npz(path / "certificates" / f"{name}.npz"))


def sizes_of_figures(folder):
    found = {}
    for file in folder.glob("*.png"):
        with Image.open(io.BytesIO(file.read_bytes())) as picture:
            assert picture.format == "PNG"
            found[file.name] = picture.size
    return found


@pytest.mark.slow
def test_one_layer_by_every_method_of_first_order(launcher, one, capsys):
    options = launcher.Options(**QUICK, risk=0.4, alpha=1e-2, seed=3)
    launcher.certify(one, options)
    vae = runs.open(one).load_vae()
    images = data.load({"name": "sprites", "image_size": 16}, (-1.0, 1.0)).validation.images(np.arange(3))

    def encode(x):
        return jax.tree.map(lambda leaf: leaf[0], vae.encode(x[None], vae.mean_path(1)).posteriors[0])

    expected = bounds.certify_dataset(
        encode,
        lambda z: vae.likelihood.mean(vae.decode((z[None],)))[0],
        np.asarray(images),
        methods=ONE_LAYER,
        radius=40.0,
        key=jax.random.key(3),
        num_samples=30,
        risk=0.4,
        alpha=1e-2,
    )
    for method in ONE_LAYER:
        np.testing.assert_allclose(certificate(one, method).radius, expected[method].radius, rtol=1e-4)
    assert np.all(expected["spectral"].radius > 0.0)
    rows = table(one, "margins")
    assert [row["method"] for row in rows] == [method for method in ONE_LAYER for _ in range(3)]
    assert rows[3]["certified_radius_pixel_units"] == str(certificate(one, "spectral").radius[0])
    arrays = storage.read_npz(one / "certificates" / "spectral.npz")
    told = json.loads(str(arrays["options"]))
    assert arrays["step"] == 4
    assert launcher.Options(**(told | {"methods": tuple(told["methods"])})) == options
    out = capsys.readouterr().out
    assert f"{one}: moving_std margin (first order) of 3 validation images at r = 40: median" in out
    assert "(L2, pixel units); abstained on 0; at most 0.03 bounds expected to fail" in out
    assert not (one / "certificates" / ".unfinished").exists()

    minimal = storage.read_npz(one / "certificates" / "minimal_radius.npz")
    assert np.all((minimal["lower"] <= minimal["estimate"]) & (minimal["estimate"] <= minimal["upper"]))
    assert table(one, "minimal_radius")[1]["minimal_radius_l2"] == str(minimal["estimate"][1])
    assert sizes_of_figures(one / "figures") == {"certified_margins.png": (1472, 480), "minimal_radius.png": (736, 480)}
    # For the report, minimal radii are no certificate.
    results = results_report.of_run(runs.open(one), "one")
    assert sorted(found.method for found in results.certificates) == sorted(ONE_LAYER)


def test_several_layers_in_both_modes(launcher, two):
    chosen = ("hierarchical", "hierarchical_sup")
    launcher.certify(two, launcher.Options(images=2, samples=100, radius=60.0, methods=chosen))
    path, sup = (certificate(two, method) for method in chosen)
    assert np.all(path.radius > 0.0) and np.all(path.norm_bound <= sup.norm_bound)
    np.testing.assert_array_equal(np.unique([row["method"] for row in table(two, "margins")]), chosen)


def test_the_least_r_of_several_layers_is_of_draws_of_all_of_them(launcher, two):
    vae = runs.open(two).load_vae()
    certification = certification_job
    image = data.load({"name": "sprites", "image_size": 16}, (-1.0, 1.0)).validation.images(np.arange(1))
    options = launcher.Options(samples=1000)
    found = certification.minimal_radius(bounds.Model.of_vae(vae), np.asarray(image), options)
    noise = vae.sample_noise(jax.random.key(1), 1000)
    drawn = vae.reconstruct(np.repeat(image, 1000, axis=0), noise) - vae.reconstruct(image)
    distances = np.linalg.norm(np.reshape(drawn, (1000, -1)), axis=1)
    assert found.lower[0] <= np.median(distances) <= found.upper[0]
    assert found.upper[0] < 1.4 * found.lower[0]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4,), (3, 2)])
def test_a_second_model_of_the_architecture_compiles_nothing(launcher, sizes, tmp_path, monkeypatch):
    certification = certification_job
    model = models.build({"latent_sizes": sizes, "network": "mlp", "widths": (8,), "hidden_sizes": (8,)}, (16, 16, 1))
    images = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 16, 16, 1)).astype(np.float32)
    options = launcher.Options(radius=40.0, samples=30)
    quick = functools.partial(bounds.empirical_margin, search_samples=16, steps=2, restarts=1)
    monkeypatch.setattr(bounds, "empirical_margin", quick)

    vaes = [model.bind(model.init(jax.random.key(seed))) for seed in range(2)]

    def certify(number):
        of_vae = bounds.Model.of_vae(vaes[number])
        assert program.is_value(of_vae.decode)
        store = storage.Folder(tmp_path / str(number))
        methods = ONE_LAYER if len(sizes) == 1 else ("hierarchical",)
        made = certification.certificates(of_vae, methods, images, options, store)
        attacked = certification.empirical_margin(of_vae, images, options, store)
        return made[methods[-1]].norm_bound, attacked.upper, certification.minimal_radius(of_vae, images, options)

    first = certify(0)
    with counted() as programs:
        second = certify(1)
    assert not programs
    assert np.all(first[0] != second[0])


def test_margins_in_another_norm_stand_beside_those_in_l2(launcher, one, capsys):
    launcher.certify(one, launcher.Options(**QUICK, methods=("camuto", "spectral"), minimal_radius=False))
    launcher.certify(one, launcher.Options(**QUICK, norm="linf", minimal_radius=False))
    assert "antithetic margin" in (out := capsys.readouterr().out) and "(L-infinity, pixel units)" in out
    assert not (one / "certificates" / "camuto_linf.npz").exists()
    assert not (one / "certificates" / "minimal_radius.npz").exists()
    assert certificate(one, "spectral").norm == "l2" and certificate(one, "spectral_linf").norm == "linf"
    assert np.all(certificate(one, "spectral_linf").radius < certificate(one, "spectral").radius)
    kinds = {(row["method"], row["norm"]) for row in table(one, "margins")}
    assert kinds == {("camuto", "l2"), ("spectral", "l2")} | {(method, "linf") for method in ONE_LAYER[1:]}
    # In the report neither takes the other's place, and charts do not mix them.
    results = results_report.of_run(runs.open(one), "one")
    assert len(results.certificates) == 5 and main_certificate(results).norm == "l2"
    assert main_certificate(results).method == "spectral"
    page = runs_page.build([results], command="").html
    assert "L-infinity" in page and "radius, L2, L-infinity" not in page
    assert "small L-infinity or L2 norm" in page or "small L2 or L-infinity norm" in page


def test_margins_by_attack_of_a_frozen_sigma_say_so(launcher, one, quick_attacks, capsys):
    options = launcher.Options(**QUICK, methods=("spectral",), empirical=2, minimal_radius=False)
    for frozen in (False, True):
        launcher.certify(one, dataclasses.replace(options, frozen_std=frozen))
        found = bounds.EmpiricalMargin.from_arrays(storage.read_npz(one / "certificates" / "empirical_margin.npz"))
        assert found.frozen_std == frozen == ("pixel units, sigma frozen)" in capsys.readouterr().out)
        assert {row["frozen_std"] for row in table(one, "empirical_margin")} == {f"{frozen}"}


@pytest.mark.slow
def test_two_runs_attacked_and_compared(launcher, one, two, quick_attacks, capsys):
    chosen = ("spectral", "hierarchical")
    launcher.certify([one, two], launcher.Options(**QUICK, methods=chosen, empirical=3, minimal_radius=False))
    out = capsys.readouterr().out
    assert f"{one} has 1 latent layer: left out hierarchical" in out
    assert f"{two} has 2 latent layers: left out spectral" in out
    for path in (one, two):
        found = bounds.EmpiricalMargin.from_arrays(storage.read_npz(path / "certificates" / "empirical_margin.npz"))
        assert len(found.upper) == 3 == len(table(path, "empirical_margin"))
        assert f"{path}: attacks show margins of at most" in out
        assert [float(row["upper_margin_pixel_units"]) for row in table(path, "empirical_margin")] == list(found.upper)
        assert not (path / "certificates" / ".unfinished").exists()
    assert "found on 2 of 3 images" in out and "times the spectral margin (median of 2), but below it on 1 image" in out
    sizes = sizes_of_figures(one.parent / "figures")
    assert sizes.keys() == {
        "certified_margins.png",
        "certified_against_empirical.png",
        "probability_against_norm.png",
        "margin_against_beta.png",
    }
    assert not (one / "figures" / "certified_margins.png").exists()
    # The report has them in its table and in a third chart of certificates, not as certificates.
    results = results_report.of_run(runs.open(one), "one")
    assert [found.method for found in results.certificates] == ["spectral"] and len(results.empirical) == 1
    page = runs_page.build([results], command="").html
    assert "attacks show: at most" in page and "not found: 33 %" in page
    assert 'aria-label="certified against attacked, spectral"' in page


def test_runs_with_concrete_latents_are_passed_over(launcher, one, tmp_path, capsys):
    settings = runs.open(one).config
    settings["model"] |= {"discrete_sizes": (3,)}
    joint = runs.prepare(tmp_path / "joint", settings, (16, 16, 1)).path
    launcher.certify([joint, one], launcher.Options(**QUICK, methods=("spectral",)))
    reason = "margins are for Gaussian latents; this model has Concrete ones (JointVAE)"
    assert f"{joint} skipped: {reason}" in capsys.readouterr().out
    assert certificate(one, "spectral").n == 3 and not (joint / "certificates").exists()
    with pytest.raises(ValueError, match="joint: margins are for Gaussian latents"):
        launcher.certify(joint, launcher.Options(**QUICK))


def test_models_that_differ_in_a_setting(launcher, one, tmp_path):
    other = shutil.copytree(one, tmp_path / "other")
    record = storage.read_json(other / "config.json")
    record["config"]["model"]["posterior_std_offset"] = 0.5
    record["config"]["objective"]["beta"] = 4.0
    storage.write_json(other / "config.json", record)
    output = tmp_path / "elsewhere"
    launcher.certify([one, other], launcher.Options(**QUICK, methods=("spectral",), minimal_radius=False), output)
    assert sizes_of_figures(output).keys() == {
        "certified_margins.png",
        "margin_against_beta.png",
        "margin_against_tau.png",
    }
    # A larger sigma, which is the model's and not what the figures are told.
    assert np.all(certificate(other, "spectral").norm_bound < certificate(one, "spectral").norm_bound)


@pytest.mark.slow
def test_sound_methods_beside_those_of_first_order(launcher, one, capsys):
    chosen = ("linear_region", "lipschitz", "hybrid")
    launcher.certify(one, launcher.Options(**QUICK | {"images": 1}, methods=chosen, minimal_radius=False))
    out = capsys.readouterr().out
    assert "linear_region margin (locally exact)" in out and "hybrid margin (sound)" in out
    assert np.all(certificate(one, "lipschitz").radius > 0.0)
    launcher.certify(one, launcher.Options(**QUICK, methods=("camuto",), minimal_radius=False))
    assert {row["method"] for row in table(one, "margins")} == {*chosen, "camuto"}
    assert "hybrid.npz stays in margins.csv beside this: it certifies 1 images at r = 40" in capsys.readouterr().out
    # Margins at another r do not stand in one table.
    other = QUICK | {"radius": 60.0}
    launcher.certify(one, launcher.Options(**other, methods=("camuto",), minimal_radius=False))
    assert {row["reconstruction_radius_l2"] for row in table(one, "margins")} == {"60.0"}
    out = capsys.readouterr().out
    assert "camuto.npz is replaced: it certifies 3 images at r = 40" in out
    assert "lipschitz.npz is left out of margins.csv: it certifies 1 images at r = 40" in out and "at r = 60" in out


@pytest.mark.parametrize("kind", ["one", "two"])
def test_by_default_the_sound_margin_comes_first(launcher, request, capsys, kind):
    path = request.getfixturevalue(kind)
    options = launcher.Options(**QUICK | {"images": 1, "sound": True, "radius": 60.0}, paths=16, minimal_radius=False)
    launcher.certify(path, options)
    assert certificate(path, "best_sound").radius[0] > 0.0 and certificate(path, "best_sound").soundness == "sound"
    assert next(row["method"] for row in table(path, "margins")) == "best_sound"
    results = results_report.of_run(runs.open(path), kind)
    assert main_certificate(results).method == "best_sound"
    assert "best_sound margin (sound) of 1 validation images at r = 60" in capsys.readouterr().out


def test_code_that_is_not_understood_leaves_first_order_and_says_why(launcher, one, monkeypatch, capsys):
    monkeypatch.setattr("seatbelt_jax.bounds.model._encode", lambda vae, x: jax.tree.map(jnp.sort, _encode_of(vae, x)))
    launcher.certify(one, launcher.Options(**QUICK | {"sound": True}, minimal_radius=False))
    assert "no sound margin, only those of first order: no bounds for 'sort'" in capsys.readouterr().out
    assert not (one / "certificates" / "best_sound.npz").exists()
    with pytest.raises(ValueError, match="no bounds for 'sort'"):
        launcher.certify(one, launcher.Options(**QUICK, methods=("best_sound",), paths=16, minimal_radius=False))


def test_a_network_whose_bounds_take_minutes_has_them_only_where_they_are_asked_for(launcher, one, monkeypatch, capsys):
    monkeypatch.setattr(pathwise_bounds, "_MANY", 2)
    launcher.certify(one, launcher.Options(**QUICK | {"sound": True}, minimal_radius=False))
    out = capsys.readouterr().out
    assert "no sound margin, only those of first order: bounds of networks so deep or wide take minutes" in out
    assert "best_sound margin" not in out


def _encode_of(vae, x):
    return jax.tree.map(lambda leaf: leaf[0], vae.posterior(x[None], ()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "two"])
def test_an_interrupted_certification_goes_on(launcher, request, monkeypatch, capsys, kind):
    path = request.getfixturevalue(kind)
    certification = certification_job
    monkeypatch.setattr(certification, "_PIECE", 2)
    options = launcher.Options(images=3, samples=20, radius=40.0, minimal_radius=False, sound=False)
    launcher.certify(path, options)
    name, groups = ("hierarchical", 3) if kind == "two" else ("spectral", 2)
    expected = certificate(path, name).radius
    shutil.rmtree(path / "certificates")

    writes = []
    write = storage.Folder.write

    def interrupted_write(self, group, arrays):
        write(self, group, arrays)
        writes.append(group)
        if len(writes) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage.Folder, "write", interrupted_write)
    with pytest.raises(KeyboardInterrupt):
        launcher.certify(path, options)
    assert not (path / "certificates" / f"{name}.npz").exists()
    assert len(list((path / "certificates" / ".unfinished").iterdir())) == 1
    capsys.readouterr()
    launcher.certify(path, options)
    assert "has unfinished work" in capsys.readouterr().out and len(writes) == len(set(writes)) == groups
    np.testing.assert_array_equal(certificate(path, name).radius, expected)
    assert not (path / "certificates" / ".unfinished").exists()


def test_what_was_left_by_other_options_is_not_taken_up(launcher, two, monkeypatch):
    certification = certification_job
    vae = runs.open(two).load_vae()
    of_vae, store = bounds.Model.of_vae(vae), storage.Folder(two / "left")
    images = np.asarray(data.load({"name": "sprites", "image_size": 16}, (-1.0, 1.0)).validation.images(np.arange(2)))
    made = []

    def make(piece, key):
        made.append(key)
        return {"radius": np.arange(len(piece))}

    keys = jax.random.key(0), jax.random.key(1)
    for key, settings in ((keys[0], "a 1"), (keys[0], "a 1"), (keys[0], "a 2"), (keys[1], "a 2")):
        (arrays,) = certification._in_pieces(make, of_vae, images, key, settings, store)
        np.testing.assert_array_equal(arrays["radius"], [0, 1])
    assert len(made) == 3


@pytest.fixture
def command(launcher, monkeypatch):
    """Gives what a command line comes to, in place of the certification."""
    seen = []
    monkeypatch.setattr(launcher, "certify", lambda *arguments, allow: seen.append(arguments))

    def parsed(*arguments):
        with launchers.given("certify", *arguments) as module:
            module.main()
        return seen.pop()

    return parsed


def test_flags_become_options(launcher, command):
    assert command("--run=a") == (["a"], launcher.Options(), None)
    chosen = command("--run=a", "--run=b", "--methods=spectral,hybrid", "--nominimal_radius", "--output=o")
    assert chosen == (["a", "b"], launcher.Options(methods=("spectral", "hybrid"), minimal_radius=False), "o")
    given = {
        "images": 7, "radius": 2.5, "samples": 11, "alpha": 0.02, "risk": 0.25, "norm": "linf", "seed": 5,
        "empirical": 2,
    }  # fmt: skip
    _, options, _ = command("--run=a", *(f"--{name}={value}" for name, value in given.items()))
    assert options == launcher.Options(**given)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("one", {"methods": ("spectra",)}, "unknown method spectra; there are camuto, spectral"),
        ("one", {"methods": ("hierarchical",)}, "has 1 latent layer, which hierarchical cannot certify"),
        ("two", {"methods": ("spectral", "camuto")}, "has 2 latent layers, .* possible are pathwise, .*hierarchical"),
        ("one", {"methods": ("camuto",), "norm": "linf"}, "'camuto' has no bound for norm='linf'"),
        ("one", {"norm": "l1"}, "norm must be one of l2, linf"),
        ("two", {"norm": "l1"}, "norm must be one of l2, linf"),
        ("one", {"radius": 0.0}, "radius must be a positive, finite L2 distance"),
        ("two", {"radius": -1.0}, "radius must be a positive, finite L2 distance"),
        ("one", {"samples": 9}, "num_samples = 9 .* at least 11"),
        ("one", {"alpha": 1.0}, "alpha must lie strictly between 0 and 1"),
        ("two", {"risk": 0.0}, "risk must lie strictly between 0 and 1"),
        ("one", {"images": 10**6}, r"there are \d+ validation images, not 1000000; give --images="),
        ("one", {"images": 3, "empirical": 4}, "--empirical=4 is more than the 3 images that are certified"),
        ("one", {"frozen_std": True}, "frozen_std changes margins by attack, and empirical is 0"),
    ],
)
def test_bad_options_are_refused_before_any_work(launcher, folders, kind, options, message):
    with pytest.raises(ValueError, match=message):
        launcher.certify(folders / kind, launcher.Options(**options))
    assert not (folders / kind / "certificates").exists()


@pytest.mark.parametrize("blocked", ["certificates", "figures", "output"])
def test_folders_that_cannot_be_written_are_refused_before_any_work(launcher, one, monkeypatch, blocked):
    def work(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(certification_job, "certificates", work)
    (one / blocked).write_text("a file, which can hold no others")
    before = sorted(one.rglob("*"))
    output = one / "output" / "figures" if blocked == "output" else None
    with pytest.raises(OSError, match=rf"nothing can be written in .*{blocked} \(Not a directory\)"):
        launcher.certify(one, launcher.Options(**QUICK), output)
    assert sorted(one.rglob("*")) == before


def test_no_run_is_certified_where_another_cannot_be_written(launcher, one, two, monkeypatch):
    monkeypatch.setattr(launcher, "_task", lambda *_: pytest.fail("a run was opened for the work"))
    (two / "certificates_test").write_text("a file, which can hold no others")
    with pytest.raises(OSError, match=r"nothing can be written in .*two/certificates_test"):
        launcher.certify([one, two], launcher.Options(**QUICK, split="test"))


def test_bad_paths_are_refused_before_any_work(launcher, folders, one, tmp_path):
    options = launcher.Options(**QUICK)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        launcher.certify([one, tmp_path / "missing"], options)
    with pytest.raises(ValueError, match="given twice"):
        launcher.certify([one, one], options)
    with pytest.raises(
        ValueError, match="different directories; name a directory for the figures with --output=DIRECTORY"
    ):
        launcher.certify([one, folders / "two"], options)
    with pytest.raises(ValueError, match="is a file; name a directory"):
        launcher.certify(one, options, one / "config.json")
    storage.write_npz(one / "certificates" / "camuto.npz", {"step": 4})
    with pytest.raises(ValueError, match=r"camuto\.npz: this is not a certificate.*; remove it"):
        launcher.certify(one, dataclasses.replace(options, methods=("spectral",)))
    assert not (one / "certificates" / "spectral.npz").exists()
