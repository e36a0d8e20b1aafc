"""launch/evaluate.py on tiny runs: every measure, what is skipped and why, what stays, what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from configs import mnist_joint_vae, sprites_seatbelt
from seatbelt_jax import attacks, metrics, runs, storage
from seatbelt_jax.data import sprites
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.jobs import attack as attack_job
from seatbelt_jax.jobs import evaluate, run_data
from seatbelt_jax.runs.checkpoint import Checkpoints
from tests.compilations import counted

QUICK = {"images": 40, "samples": 3, "samples_images": 5, "levels": 2, "pairs": 2, "training_images": 40, "epochs": 1}


@pytest.fixture(scope="module")
def launcher():
    return evaluate


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"images": 0}, r"evaluate\.images must be at least 1, got 0"),
        ({"measures": "elbo"}, r"evaluate\.measures must be a list of texts, got 'elbo'"),
        ({"paths": 2**31 - 1}, r"evaluate\.paths must be at most 10000, got 2147483647"),
        ({"epochs": True}, r"evaluate\.epochs must be a whole number, got True"),
        ({"split": "train"}, r"evaluate\.split must be one of validation, test"),
        ({"seed": 2**40}, r"evaluate\.seed must be "),
    ],
)
def test_options_made_in_python_are_refused_as_flags_are(launcher, option, message):
    with pytest.raises(ValueError, match=message):
        launcher.Options(**option)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model of two layers on sprites of 16 x 16 and a JointVAE on blobs, not trained."""
    folder = tmp_path_factory.mktemp("runs")
    data = {"sprites": {"name": "sprites", "image_size": 16}, "mock": {"name": "mock", "image_size": 16}}
    for name, config, sizes in (("sprites", sprites_seatbelt, (3, 2)), ("mock", mnist_joint_vae, (2,))):
        settings = config.get_config("smoke").to_dict()
        settings["data"] = data[name]
        settings["model"] |= {"latent_sizes": sizes, "network": "mlp", "widths": (8,), "hidden_sizes": (8,)}
        opened = runs.prepare(folder / name, settings, (16, 16, 1))
        with Checkpoints(opened.path / "checkpoints") as checkpoints:
            checkpoints.save(4, variables=opened.model.init(jax.random.key(0)), training={"step": np.zeros(())})
    return folder


@pytest.fixture(scope="module")
def evaluation(launcher, folders):
    """The record of every measure, two sweeps of attacks being there, and the programs that were compiled for it."""
    attack = attack_job
    for number, budgets in enumerate(((1.0,), (0.1, 1.0))):
        options = attack.Options(
            pairs_by="label", pairs=4, budgets=budgets, iterations=2, name=str(number), exchanges=0
        )
        attack.attack(folders / "sprites", options)
    # One that an earlier step's model was attacked by.
    arrays = storage.read_npz(folders / "sprites" / "attacks" / "latent_kl_all_label_0.npz")
    storage.write_npz(folders / "sprites" / "attacks" / "stale.npz", {**arrays, "step": 3})
    jax.clear_caches()
    with counted() as programs:
        launcher.evaluate(folders / "sprites", launcher.Options(**QUICK))
    return storage.read_json(folders / "sprites" / "evaluation.json"), list(programs)


@pytest.fixture(scope="module")
def evaluated(evaluation):
    return evaluation[0]


def opened_images(folders, count=40):
    opened = runs.open(folders / "sprites")
    return (
        opened.load_vae(),
        opened.load_variables()["params"],
        run_data.unseen(opened, (-1.0, 1.0), "validation").images(np.arange(count)),
    )


@pytest.mark.slow
def test_every_measure_is_there(launcher, evaluated):
    assert list(evaluated["measures"]) == list(launcher.MEASURES) and not evaluated["skipped"]
    assert evaluated["step"] == 4
    assert all(measure["options"]["images"] == 40 for measure in evaluated["measures"].values())


def test_all_measures_together_compile_few_programs(evaluation):
    programs = evaluation[1]
    assert 0 < len(programs) <= 120, sorted(programs)


def test_another_model_of_the_architecture_shares_what_is_compiled(launcher, folders, evaluated):
    opened = runs.prepare(folders / "other", runs.open(folders / "sprites").config, (16, 16, 1))
    with Checkpoints(opened.path / "checkpoints") as checkpoints:
        checkpoints.save(4, variables=opened.model.init(jax.random.key(1)), training={"step": np.zeros(())})
    shutil.copytree(folders / "sprites" / "attacks", opened.path / "attacks")
    measures = tuple(launcher.MEASURES)
    with counted() as programs:
        launcher.evaluate(opened.path, launcher.Options(**QUICK, measures=measures))
    found = storage.read_json(opened.path / "evaluation.json")["measures"]
    assert list(found) == list(measures) and found["elbo"]["elbo_nats"] != evaluated["measures"]["elbo"]["elbo_nats"]
    assert not programs


def test_measures_are_the_librarys(folders, evaluated):
    vae, parameters, images = opened_images(folders)
    found, key = evaluated["measures"], jax.random.key(0)
    expected = metrics.elbo_decomposition(vae, images, key).means()
    assert found["elbo"]["aggregate_posterior_images"] == 40
    np.testing.assert_allclose([found["elbo"][name] for name in expected], list(expected.values()), rtol=1e-4)
    bound = metrics.importance_weighted_bound(vae, images[:5], key, num_samples=3)
    np.testing.assert_allclose(found["importance_weighted"]["log_likelihood_nats"], bound.log_likelihood.mean())
    activity = metrics.active_units(vae, images).activity[1]
    np.testing.assert_allclose(found["active_units"]["activity_2"], activity, rtol=1e-5)
    widths = metrics.posterior_std_norms(vae, images)
    np.testing.assert_allclose(found["posterior_std"]["layer_2"]["quantile_0.5"], np.median(widths[1]), rtol=1e-5)
    noisy = metrics.noise_robustness(vae, images, key, scales=(0.0, 0.1, 0.5, 1.0))
    np.testing.assert_allclose(found["noise_robustness"]["scale_0.5"]["mean"], noisy[2].mean(), rtol=1e-5)
    density = metrics.kernel_density(noisy[2])
    np.testing.assert_allclose(found["noise_robustness"]["scale_0.5"]["density"], density.density, rtol=1e-3)
    norms = metrics.weight_norms(parameters)
    of_both = {**found["weight_norms"]["encoder_layers"], **found["weight_norms"]["decoder_layers"]}
    assert of_both == pytest.approx(norms)
    np.testing.assert_allclose(
        found["weight_norms"]["encoder"] ** 2 + found["weight_norms"]["decoder"] ** 2, metrics.total_norm(norms) ** 2
    )


def test_mig_is_on_a_full_grid_of_sprites(folders, evaluated):
    """Two levels of each factor: the official images at every combination of them, whichever split they are in."""
    found = evaluated["measures"]["mig"]
    assert found["levels"] == [2] * 5 and found["images"] == 32
    levels = np.stack(np.meshgrid([0, 2], [0, 3], [0, 20], [0, 16], [0, 16], indexing="ij"), axis=-1).reshape(-1, 5)
    vae, _, _ = opened_images(folders, 1)
    images = 2.0 * sprites.draw(levels, size=16) - 1.0
    every = vae.encode(images, vae.mean_path(32)).posteriors
    for layer, q in enumerate(every, 1):
        posterior = DiagonalGaussian(np.asarray(q.mean), np.asarray(q.log_std))
        expected = metrics.mutual_information_gap(posterior, levels, jax.random.key(1))
        np.testing.assert_allclose(
            found[f"layer_{layer}"]["mutual_information_nats"],
            expected.mutual_information,
            atol=6.0 * expected.standard_error.max(),
        )
    assert len(found["all_layers"]["mutual_information_nats"][0]) == 5


def test_traversals_are_figures_of_each_layer(folders, evaluated):
    found = evaluated["measures"]["traversals"]
    activity = np.array(evaluated["measures"]["active_units"]["activity_1"])
    assert found["layer_1"]["units"] == np.argsort(-activity).tolist() != np.argsort(activity).tolist()
    for layer in ("layer_1", "layer_2"):
        assert (folders / "sprites" / found[layer]["figure"]).read_bytes().startswith(b"\x89PNG")


def test_success_of_the_attacks_that_are_there(evaluated):
    found = evaluated["measures"]["attack_success"]
    assert found["classifier"] == "sootla" and "stale" not in found
    one, sweep = found["latent_kl_all_label_0"], found["latent_kl_all_label_1"]
    assert len(one["ignore_target"]) == 3 and "ignore_target_by_source" in one  # a matrix, three shapes
    assert len(sweep["ignore_target"]) == 2 and "ignore_target_by_source" not in sweep
    # Every cell of the matrix off its diagonal counts or is left out.
    counted = np.sum(np.array(one["ignore_target"], float) >= 0.0)
    assert one["label_pairs"] - one["label_pairs_left_out"] == counted


def test_the_table_says_how_many_pairs_of_labels_success_leaves_out(launcher):
    found = {"held_out_accuracy": 0.5, "a": {"label_pairs": 6, "label_pairs_left_out": 4}}
    expected = "held_out_accuracy 0.5, a: 4 of 6 ordered pairs of labels are left out"
    assert launcher._headline("attack_success", found) == expected


def test_downstream_tasks_have_their_accuracies(evaluated):
    found = evaluated["measures"]["downstream"]
    assert found["pairs"] == 2
    for task in ("mlp_reconstructions", "conv_reconstructions", "mlp_codes"):
        rates = found[task]
        assert rates["accuracy_change"] == pytest.approx(rates["accuracy_attacked"] - rates["accuracy_clean"])
        assert 0.0 <= rates["held_out_accuracy"] <= 1.0


def test_downstream_classifiers_read_the_attacked_images(launcher, folders, monkeypatch):
    """Options of attacks that turn black into white: an untrained model is not worth a distortion at lambda = 1."""
    attacked_by, seen, sweep = [], [], attacks.sweep

    def turn(vae, sources, *arguments, **options):
        attacked_by.append((vae, sources))
        result = sweep(vae, sources, *arguments, **options)
        return dataclasses.replace(result, adversarial=-result.sources[:, None])

    def accuracy(classify, clean, attacked, sources, targets):
        assert np.all(sources != targets)
        seen.append((clean, attacked))
        return metrics.DownstreamAccuracy(*[np.ones(len(clean), bool)] * 3)

    monkeypatch.setattr("seatbelt_jax.attacks.sweep", turn)
    monkeypatch.setattr("seatbelt_jax.metrics.downstream_accuracy", accuracy)
    launcher.evaluate(folders / "sprites", launcher.Options(**QUICK, measures=("downstream",)))
    ((vae, sources),) = attacked_by
    assert [clean.shape for clean, _ in seen] == [(2, 16, 16, 1), (2, 16, 16, 1), (2, 5)]
    for given, images in zip(seen[0], (sources, -sources), strict=True):
        np.testing.assert_allclose(given, vae.reconstruct(images), atol=1e-4)
    for given, images in zip(seen[2], (sources, -sources), strict=True):
        codes = np.concatenate(vae.encode(images, vae.mean_path(2)).latents, axis=1)
        np.testing.assert_allclose(given, codes, atol=1e-4)


def test_what_does_not_apply_is_skipped_with_its_reason(launcher, folders, capsys):
    launcher.evaluate(folders / "mock", launcher.Options(**QUICK))
    record = storage.read_json(folders / "mock" / "evaluation.json")
    assert record["skipped"] == {
        "importance_weighted": "the model has Concrete latents, which have no importance weights",
        "mig": "the factors of mock are not known",
        "attack_success": record["skipped"]["attack_success"],
        "downstream": "mock has no labels",
    }
    assert "seatbelt attack" in record["skipped"]["attack_success"]
    assert "layer_1" not in record["measures"]["posterior_std"] and "layer_2" in record["measures"]["posterior_std"]
    printed = capsys.readouterr().out
    assert "mig                  skipped: the factors of mock are not known" in printed
    assert "6 measures of step 4, 4 skipped" in printed


def test_measures_stay_until_they_are_made_again_or_the_model_has_moved_on(launcher, folders, tmp_path):
    path = shutil.copytree(folders / "mock", tmp_path / "mock", ignore=shutil.ignore_patterns("evaluation.json"))
    launcher.evaluate(path, launcher.Options(**QUICK, measures=("weight_norms",)))
    launcher.evaluate(path, launcher.Options(**(QUICK | {"images": 10}), measures=("active_units",)))
    record = storage.read_json(path / "evaluation.json")
    assert list(record["measures"]) == ["weight_norms", "active_units"]
    assert [measure["options"]["images"] for measure in record["measures"].values()] == [40, 10]
    (path / "evaluation.json").write_text(json.dumps({**record, "step": 3}))
    launcher.evaluate(path, launcher.Options(**QUICK, measures=("active_units",)))
    assert list(storage.read_json(path / "evaluation.json")["measures"]) == ["active_units"]


def test_what_is_refused(launcher, folders, tmp_path):
    with pytest.raises(ValueError, match="unknown measure elb; there are weight_norms, active_units"):
        launcher.evaluate(folders / "mock", launcher.Options(measures=("elb",)))
    with pytest.raises(ValueError, match="mock has no test images"):
        launcher.evaluate(folders / "mock", launcher.Options(split="test"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        launcher.evaluate(folders / "missing", launcher.Options())
    path = shutil.copytree(folders / "mock", tmp_path / "mock")
    for damaged in ("[]", '{"step": 4}', "{"):
        (path / "evaluation.json").write_text(damaged)
        with pytest.raises(ValueError, match="damaged or of another program"):
            launcher.evaluate(path, launcher.Options(**QUICK, measures=("weight_norms",)))


def test_folders_that_cannot_be_written_are_refused_before_any_work(launcher, folders, monkeypatch, tmp_path):
    def work(*_, **__):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(launcher, "_task", work)
    path = shutil.copytree(folders / "sprites", tmp_path / "run", ignore=shutil.ignore_patterns("figures"))
    (path / "figures").write_text("a file, which can hold no others")
    with pytest.raises(OSError, match=r"nothing can be written in .*figures \(Not a directory\)"):
        launcher.evaluate(path, launcher.Options())
