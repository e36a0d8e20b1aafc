"""Every experiment of configs/: complete, buildable, and with the papers' numbers."""

import dataclasses
import importlib
import math
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from configs import _base
from seatbelt_jax import data, models, runs, sections, training
from seatbelt_jax.data.swiss_roll import POINT_SHAPE
from seatbelt_jax.jobs import train
from seatbelt_jax.models import ModelConfig
from seatbelt_jax.training import recipe, state, step
from seatbelt_jax.training.density_ratio import DiscriminatorConfig
from seatbelt_jax.training.objective import ObjectiveConfig
from seatbelt_jax.training.settings import OptimizerConfig, TrainConfig

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
NAMES = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
SECTIONS = {
    "data": data.DataConfig,
    "model": ModelConfig,
    "objective": ObjectiveConfig,
    "optimizer": OptimizerConfig,
    "train": TrainConfig,
    "discriminator": DiscriminatorConfig,
}
COLOURED = ("celeb_a", "svhn_cropped", "cifar10")
STORED = ("chairs", "faces", "dsprites", "svhn", "cifar10", "mnist", "fashion_mnist")


def config_of(name, variant=""):
    return importlib.import_module(f"configs.{name}").get_config(variant)


def variants(name):
    """What the docstring names, the default first; L1..L5 is five of them."""
    words = re.findall(
        r"^  (\"\"|\w+(?:\.\.\w+)?) +\S", importlib.import_module(f"configs.{name}").__doc__, re.MULTILINE
    )
    named = []
    for word in words:
        first, _, last = word.partition("..")
        named += [f"L{depth}" for depth in range(int(first[1:]), int(last[1:]) + 1)] if last else [word.strip('"')]
    return named


def image_shape(config):
    if config.data.name == "swiss_roll":
        return POINT_SHAPE
    channels = 3 if config.data.name in COLOURED else config.data.channels or 1
    return (config.data.image_size, config.data.image_size, channels)


def build(config):
    """The model and settings, by the checks that training makes at the door."""
    values = config.to_dict()
    # What launch/train.py chooses by the number of images.
    values["train"]["batch_size"] = values["train"]["batch_size"] or 32
    sections.parse(data.DataConfig, "data", values["data"])
    settings = training.parse_settings(values)
    models.make_likelihood(values["model"])
    model = models.build(values["model"], image_shape(config))
    training.check_layers(settings.objective, len(model.latent_sizes))
    return model, settings


def test_there_is_a_config_for_every_model_and_objective():
    kinds = ("vae", "beta_vae", "beta_tcvae", "dlgm", "beta_tcdlgm", "seatbelt", "joint_vae", "factor_vae")
    extras = ("vae_weight_decay", "vae_sigma_offset", "vae_constant_sigma")
    assert {f"sprites_{kind}" for kind in (*kinds, *extras)} <= set(NAMES)
    papers = {"celeba_seatbelt", "celeba_vae", "mnist_joint_vae", "mnist_vae", "mnist_vae_weight_decay", "swiss_roll"}
    assert papers | set(STORED) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_told_complete_and_builds(name):
    named = variants(name)
    assert "@" not in (importlib.import_module(f"configs.{name}").__doc__ or "@"), "a figure was left out"
    assert {"", "smoke"} <= set(named), f"the docstring of configs/{name}.py names {named}"
    for variant in named:
        config = config_of(name, variant)
        build(config)
        for section, fields in SECTIONS.items():
            # What a configuration lacks, --config.SECTION.FIELD cannot change.
            if section != "discriminator" or section in config:
                assert set(config[section]) == {field.name for field in dataclasses.fields(fields)}, (variant, section)
        assert ("discriminator" in config) == (config.objective.estimator == "density_ratio")


def test_what_a_configuration_says_of_data_by_default_is_what_data_do_by_default():
    assert _base.DATA == {**data.DEFAULTS, "name": "mock"}
    for file in sorted((FOLDER / "sweeps").glob("[!_]*.py")):
        config = importlib.import_module(f"configs.sweeps.{file.stem}").get_config()
        for name, section in config.get("data_sets", {"base": config.base.data}).items():
            assert set(section) == set(_base.DATA), (file.stem, name)


def test_smoke_variants_leave_the_colours_of_a_folder_to_it():
    for name in NAMES:
        config = config_of(name, "smoke")
        assert config.data.channels == (3 if config_of(name).data.name in COLOURED or name == "folder" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_variants_are_refused_with_those_there_are(name):
    for variant in ("tiny", "smoke,tiny", "L9"):
        with pytest.raises(ValueError, match=r"unknown variant '.*'; there are .*smoke"):
            config_of(name, variant)


def trainings():
    """Configurations to train: one of several whose smoke variants differ in their data's name alone."""
    different = {}
    for name in NAMES:
        config = config_of(name, "smoke")
        sections = {section: values for section, values in config.to_dict().items() if section != "data"}
        different.setdefault(repr((image_shape(config), sections)), name)
    return list(different.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", trainings())
def test_a_step_of_the_smoke_variant_has_the_shapes_of_its_state(name):
    config = config_of(name, "smoke")
    model, settings = build(config)
    made = recipe.make_recipe(model, settings, 1_000)
    key = jax.random.key(0)
    before = jax.eval_shape(lambda key: state.create(made, key), key)
    images = jax.ShapeDtypeStruct((settings.train.batch_size, *model.image_shape), jnp.float32)
    after, metrics = jax.eval_shape(lambda *given: step.train_step(*given, recipe=made), before, images, key)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), before
    )
    assert {"loss", "elbo", "beta", "gradient_norm", "skipped_steps"} <= metrics.keys()
    assert all(metric.shape == () for metric in metrics.values())


def test_variants_go_together():
    config = config_of("sprites_seatbelt", "L2,demo")
    assert config.model.latent_sizes == (12, 6)
    assert config.data.image_size == 32
    assert build(config_of("sprites_dlgm", "demo,L5,smoke"))[0].latent_sizes == (6, 5, 4, 3, 2)


def test_the_papers_networks_and_training_are_those_of_willetts_2021():
    """App. G: networks, Gaussian likelihood of 0.1, Adam at 1e-3 with cosine decay, batches of 1024."""
    for name in NAMES:
        config = config_of(name)
        if name.startswith(("mnist_", "swiss")) or name in ("sprites_factor_vae", "sprites_joint_vae", "folder"):
            continue
        small = name in ("svhn", "cifar10", "mnist", "fashion_mnist")
        assert config.data.image_size == (32 if small else 64)
        assert config.model.network == "conv"
        widths = (64, 64, 128, 128) if config.data.name in COLOURED else (32, 32, 64, 64)
        assert config.model.widths == (widths[1:] if small else widths)
        assert config.model.feature_size == 512
        assert config.model.hidden_sizes == (1024, 512, 256, 128, 64)
        assert config.model.batch_norm
        assert (config.model.likelihood, config.model.likelihood_std) == ("gaussian", 0.1)
        assert (config.optimizer.learning_rate, config.optimizer.schedule) == (1e-3, "cosine")
        assert config.train.batch_size == 1024
        assert config.optimizer.weight_decay == (0.5 if name == "sprites_vae_weight_decay" else 0.0)
        assert config.model.posterior_std == (0.3 if name == "sprites_vae_constant_sigma" else 0.0)
        assert config.model.posterior_std_offset == (0.1 if name == "sprites_vae_sigma_offset" else 0.0)


def test_the_latent_sizes_are_the_last_of_the_papers_lists():
    sizes = (96, 48, 24, 12, 6)
    for name in ("sprites_seatbelt", "sprites_dlgm", "sprites_beta_tcdlgm"):
        for depth in range(1, 6):
            assert config_of(name, f"L{depth}").model.latent_sizes == sizes[-depth:]
        assert config_of(name).model.decoder_reads == ("all" if name == "sprites_seatbelt" else "bottom")
    assert config_of("celeba_seatbelt").model.latent_sizes == (256, 128, 64, 32)
    for name in STORED:
        listed = (256, 128, 64, 32) if name in ("svhn", "cifar10") else sizes
        assert config_of(name).model.latent_sizes == listed[-4:]
        for depth in range(1, len(listed) + 1):
            assert config_of(name, f"L{depth}").model.latent_sizes == listed[-depth:]


@pytest.mark.parametrize("name", STORED)
def test_the_models_on_stored_images_are_those_of_their_names(name):
    found = {kind: config_of(name, kind) for kind in ("", "vae", "beta_vae", "beta_tcvae")}
    objectives = {kind: (c.objective.beta, c.objective.penalty, c.objective.free_bits) for kind, c in found.items()}
    assert objectives == {
        "": (10.0, "total_correlation", 0.5),
        "vae": (1.0, "kl", 0.0),
        "beta_vae": (10.0, "kl", 0.0),
        "beta_tcvae": (10.0, "total_correlation", 0.0),
    }
    for kind, config in found.items():
        assert config.model.decoder_reads == "all"
        assert len(config.model.latent_sizes) == (1 if kind else 4)
        # About 50 epochs of the images that are left for training.
        assert config.train.steps % 50 == 0 and config.train.steps * 1024 / 50 > 46_000
    with pytest.raises(ValueError, match="only one model at once"):
        config_of(name, "vae,beta_vae")


def test_how_stored_images_are_cut_and_fitted_is_in_the_configuration():
    """docs/data.md says where the numbers are from."""
    chairs, celeba = config_of("chairs").data, config_of("celeba_vae").data
    assert (chairs.crop, chairs.fit, celeba.crop, celeba.fit) == (
        (100, 100, 400, 400),
        "resize",
        (40, 15, 148, 148),
        "resize",
    )
    fits = {name: config_of(name).data.fit for name in NAMES if "mnist" in name}
    padded = {"mnist", "fashion_mnist", "mnist_vae_sigma_offset"}
    assert fits == {name: "pad" if name in padded else "resize" for name in fits}
    for name in STORED:
        assert config_of(name).data.held_out == (0.01 if name == "dsprites" else 0.05)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_small_variants_are_made_for_processors(name):
    for variant, latent_sizes in {"small": (24, 12, 6), "vae,small": (24,), "small,beta_tcvae": (24,)}.items():
        config = config_of(name, variant)
        assert (config.model.network, config.model.latent_sizes) == ("mlp", latent_sizes)
        assert (config.data.name, config.data.image_size, config.data.fit) == (name, 32, "pad")
        assert config.train.steps <= 4_000


@pytest.mark.parametrize(
    ("name", "beta", "penalty", "free"),
    [
        ("sprites_vae", 1.0, None, 0.0),
        ("celeba_vae", 1.0, None, 0.0),
        ("sprites_dlgm", 1.0, None, 0.5),
        ("sprites_beta_vae", 8.0, "kl", 0.0),
        ("sprites_beta_tcvae", 8.0, "total_correlation", 0.0),
        ("sprites_beta_tcdlgm", 8.0, "total_correlation", 0.5),
        ("sprites_seatbelt", 8.0, "total_correlation", 0.5),
        ("celeba_seatbelt", 20.0, "total_correlation", 0.5),
        ("celeba_beta_tcvae", 10.0, "total_correlation", 0.0),
        ("celeba_beta_vae", 10.0, "kl", 0.0),
        ("mnist_vae_sigma_offset", 1.0, None, 0.0),
    ],
)
def test_each_objective_is_the_one_of_its_name(name, beta, penalty, free):
    objective = config_of(name).objective
    assert (objective.beta, objective.free_bits) == (beta, free)
    assert penalty in (None, objective.penalty)
    # beta = 1 is the plain ELBO with these two, and with these two alone.
    assert objective.penalty in ("kl", "total_correlation")


@pytest.mark.parametrize("name", ["mnist_joint_vae", "mnist_vae", "mnist_vae_weight_decay"])
def test_the_mnist_models_are_those_of_sootla_2018(name):
    """Sec. 3.2 and Table 3.1, whose upconvolutions are named, as their code has it, by what they read."""
    config = config_of(name)
    assert (config.model.latent_sizes, config.model.discrete_sizes, config.model.temperature) == ((10,), (10,), 0.1)
    assert config.model.likelihood == "bernoulli"
    assert (config.optimizer.learning_rate, config.optimizer.schedule) == (1e-4, "constant")
    assert (config.train.batch_size, config.train.steps) == (64, 100_000)
    assert config.optimizer.weight_decay == (0.5 if name == "mnist_vae_weight_decay" else 0.0)
    objective = config.objective
    if name == "mnist_joint_vae":
        assert (objective.penalty, objective.beta, objective.capacity) == ("capacity", 30.0, (5.0, 5.0))
        assert objective.capacity_annealing_steps == 100_000
    else:
        assert (objective.penalty, objective.beta, objective.capacity) == ("kl", 1.0, ())

    model, settings = build(config)
    parameters = jax.eval_shape(model.init, jax.random.key(0))["params"]
    assert "batch_stats" not in jax.eval_shape(model.init, jax.random.key(0))
    encoder, decoder = parameters["encoder"], parameters["decoder"]
    kernels = [encoder[f"Conv_{i}"]["kernel"].shape for i in range(3)]
    assert kernels == [(4, 4, 1, 32), (4, 4, 32, 32), (4, 4, 32, 64)]
    assert encoder["Dense_0"]["kernel"].shape == (4 * 4 * 64, 128)
    assert [decoder[f"Dense_{i}"]["kernel"].shape for i in range(2)] == [(20, 128), (128, 4 * 4 * 64)]
    kernels = [decoder[f"ConvTranspose_{i}"]["kernel"].shape for i in range(3)]
    assert kernels == [(4, 4, 64, 32), (4, 4, 32, 32), (4, 4, 32, 1)]
    assert parameters["logits"]["kernel"].shape == (128, 10)
    assert parameters["posterior"]["mean"]["kernel"].shape == (128, 10)
    told = training.unreachable_capacities(settings.objective, model.largest_kl)
    assert len(told) == (1 if name == "mnist_joint_vae" else 0)


def test_factor_vae_is_that_of_kim_and_mnih_2018():
    """App. A: 10 latents, gamma = 35, batches of 64, Adam at 1e-4, 300,000 steps, FC 128 between two halves."""
    config = config_of("sprites_factor_vae")
    assert (config.objective.beta, config.objective.estimator) == (36.0, "density_ratio")
    assert (config.model.latent_sizes, config.model.likelihood) == ((10,), "bernoulli")
    assert (config.model.widths, config.model.feature_size, config.model.batch_norm) == ((32, 32, 64, 64), 128, False)
    assert (config.optimizer.learning_rate, config.optimizer.schedule) == (1e-4, "constant")
    assert (config.train.batch_size, config.train.steps) == (64, 300_000)
    assert config.discriminator.to_dict() == {"width": 1000, "layers": 6, "learning_rate": 1e-4}


def test_the_sprites_joint_vae_asks_for_no_more_than_three_shapes_hold():
    for variant in variants("sprites_joint_vae"):
        config = config_of("sprites_joint_vae", variant)
        assert config.objective.capacity == (pytest.approx(math.log(3)), 25.0)
        assert config.model.discrete_sizes == (3,)
        assert 0 < config.objective.capacity_annealing_steps < config.train.steps
        model, settings = build(config)
        assert training.unreachable_capacities(settings.objective, model.largest_kl) == []


def test_the_swiss_roll_has_two_latents_and_both_penalties():
    """Willetts et al. 2021, Fig. A.7."""
    assert config_of("swiss_roll").model.latent_sizes == (2,)
    assert config_of("swiss_roll").objective.beta == 1.0
    assert config_of("swiss_roll", "beta_vae").objective.penalty == "kl"
    assert config_of("swiss_roll", "beta_tcvae").objective.penalty == "total_correlation"
    assert build(config_of("swiss_roll"))[0].image_shape == (1, 1, 3)


# ml_collections loads configurations in a way that Python is giving up.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_fields_are_changed_by_flags(monkeypatch):
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, lock_config=True, flag_values=values)
    changes = {
        "objective.beta": "3",
        "objective.beta_annealing_steps": "50",
        "objective.penalty": "capacity",
        "objective.capacity": "(1.0,2.0)",
        "model.discrete_sizes": "(3,)",
        "model.temperature": "0.5",
        "model.posterior_std": "0.2",
        "model.compute_dtype": "bfloat16",
        "optimizer.weight_decay": "0.5",
    }
    given = [f"--config.{name}={value}" for name, value in changes.items()]
    # Overrides are looked for there.
    monkeypatch.setattr(sys, "argv", ["train", f"--config={FOLDER / 'sprites_vae.py'}:smoke", *given])
    values(sys.argv)
    model, settings = build(values.config)
    assert settings.objective.capacity == (1.0, 2.0)
    assert (settings.objective.beta, settings.objective.beta_annealing_steps) == (3.0, 50)
    assert (model.module.discrete_sizes, model.module.posterior_std) == ((3,), 0.2)
    assert model.module.encoder.dtype == jnp.bfloat16
    assert settings.optimizer.weight_decay == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "layers", "told"),
    [
        ("mnist_joint_vae", "smoke", 2, "a capacity of 5 nats is out of reach; 2.303 nats"),
        ("sprites_factor_vae", "smoke", 1, ""),
        ("sprites_seatbelt", "L5,demo,smoke", 5, ""),
    ],
)
def test_the_smoke_variant_trains(name, variant, layers, told, tmp_path, capsys):
    config = config_of(name, variant)
    train.train(config.to_dict(), tmp_path / "run")
    assert told in capsys.readouterr().out
    rows = training.read_metrics(tmp_path / "run")
    assert [(row["step"], row["split"]) for row in rows] == [(2, "train"), (4, "train"), (4, "validation")]
    for row in rows:
        assert all(math.isfinite(value) for key, value in row.items() if key != "split")
        assert {f"kl_{layer}" for layer in range(1, layers + 1)} <= row.keys()
        assert f"kl_{layers + 1}" not in row
    assert ("discriminator_loss" in rows[0]) == (name == "sprites_factor_vae")
    vae = runs.open(tmp_path / "run").load_vae()
    images = np.zeros((2, *vae.image_shape), np.float32)
    assert np.all(np.isfinite(jax.jit(vae.reconstruct)(images)))
    assert (tmp_path / "run" / "samples.npz").exists()


def test_the_models_of_sootla_decode_the_arg_max_of_their_logits():
    """Sootla 2018, Sec. 3.3 and 4; others decode relaxed samples."""
    for name in ("mnist_vae", "mnist_joint_vae", "mnist_vae_weight_decay"):
        assert importlib.import_module(f"configs.{name}").get_config().model.hard_samples, name
    for name in ("s18_small", "s18_paper"):
        assert importlib.import_module(f"configs.sweeps.{name}").get_config().base.model.hard_samples, name
    assert not importlib.import_module("configs.sprites_joint_vae").get_config().model.hard_samples
