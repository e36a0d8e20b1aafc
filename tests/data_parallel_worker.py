"""Training on eight virtual CPU devices and on one of them, for tests/test_data_parallel.py to read.

Run as `python -m tests.data_parallel_worker OUT.json` with as many devices: how many there are is settled when JAX
starts, so that the other tests have one. Every number it writes is a difference between the two, relative to the
one-device result unless it says otherwise.
"""

import dataclasses
import functools
import json
import math
import pathlib
import re
import shutil
import signal
import sys
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seatbelt_jax import data, models, training
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.training import step, trainer
from seatbelt_jax.training.parallel import data_parallel, split_large
from seatbelt_jax.training.recipe import make_recipe
from seatbelt_jax.training.state import create
from seatbelt_jax.vae import sample_noise

DEVICES = 8
MLP = {"network": "mlp", "widths": (16,), "hidden_sizes": (12, 8), "likelihood_std": 1.0}
CONV = {"network": "conv", "widths": (6,), "feature_size": 12, "likelihood_std": 1.0}
FACTOR_VAE = {"beta": 6.0, "estimator": "density_ratio"}

# Model and objective; all with BatchNorm.
OBJECTIVES = {
    "beta-VAE": ({**MLP, "latent_sizes": (4,)}, {"beta": 6.0, "penalty": "kl"}),
    "beta-TCVAE, mws, conv": ({**CONV, "latent_sizes": (4,)}, {"beta": 6.0, "estimator": "mws"}),
    "beta-TCVAE, mss": ({**MLP, "latent_sizes": (4,)}, {"beta": 6.0, "estimator": "mss"}),
    "Seatbelt-VAE": ({**MLP, "latent_sizes": (5, 4, 3)}, {"beta": 6.0}),
    # One layer below its free bits, one above.
    "beta-TCDLGM, free bits": (
        {**MLP, "latent_sizes": (4, 3), "decoder_reads": "bottom"},
        {"beta": 6.0, "free_bits": (100.0, 0.01)},
    ),
    "FactorVAE": ({**MLP, "latent_sizes": (4,)}, FACTOR_VAE),
    "JointVAE": (
        {**MLP, "latent_sizes": (4,), "discrete_sizes": (5,)},
        {"beta": 6.0, "penalty": "capacity", "capacity": (2.0, 1.0), "capacity_annealing_steps": 10},
    ),
}
# The same without BatchNorm, unless that is what couples the examples of a batch.
LOCAL = {
    "beta-VAE without BatchNorm": ({**MLP, "latent_sizes": (4,), "batch_norm": False}, {"beta": 6.0, "penalty": "kl"}),
    "BatchNorm": OBJECTIVES["beta-VAE"],
    "mws": ({**MLP, "latent_sizes": (4,), "batch_norm": False}, {"beta": 6.0, "estimator": "mws"}),
    "mss": ({**MLP, "latent_sizes": (4,), "batch_norm": False}, {"beta": 6.0, "estimator": "mss"}),
}
BATCH = 48
LARGE_BATCH, LARGE_LATENT = 1024, 32
DATA = {"name": "mock", "image_size": 8, "num_images": 60}
SPLIT = {"shard_parameters_mib": 1e-4}
TRAIN = {"steps": 6, "batch_size": 16, "log_every": 1, "evaluate_every": 3, "checkpoint_every": 2}


def make_settings(objective, **train):
    return training.parse_settings(
        {
            "seed": 0,
            "objective": objective,
            "optimizer": {"learning_rate": 1e-2},
            "train": {**TRAIN, **train},
            "discriminator": {"width": 16, "layers": 2},
        }
    )


def started(model_config, objective, batch):
    """A recipe whose optimisers keep the gradient as their state, a state amid training, and images."""
    model = models.build(model_config, (8, 8, 1))
    recipe = make_recipe(model, make_settings(objective), 10 * batch)
    keeping = optax.trace(decay=0.0)
    ratio = recipe.density_ratio and dataclasses.replace(recipe.density_ratio, optimizer=keeping)
    recipe = dataclasses.replace(recipe, optimizer=keeping, density_ratio=ratio)
    state = create(recipe, jax.random.key(0))
    rng = np.random.default_rng(0)

    # Fresh heads give every posterior the same standard deviation.
    def moved(leaf):
        return leaf + (0.3 / np.sqrt(leaf.shape[0]) * rng.standard_normal(leaf.shape)).astype(np.float32)

    variables = {**state.variables, "params": jax.tree.map(moved, state.variables["params"])}
    # Brighter and brighter: no device's part is like the whole.
    brightness = np.linspace(-1.0, 1.0, batch)[:, None, None, None]
    images = np.clip(brightness + 0.3 * rng.standard_normal((batch, 8, 8, 1)), -1.0, 1.0).astype(np.float32)
    return recipe, dataclasses.replace(state, step=jnp.asarray(5), variables=variables), images


def compile_step(devices, recipe, state, images):
    """The step on so many devices, and its arguments as they lie there."""
    split, replicated = data_parallel(jax.devices()[:devices])
    arguments = jax.device_put(state, replicated), jax.device_put(images, split), jax.random.key(3)
    function = jax.jit(
        functools.partial(step.train_step, recipe=recipe),
        in_shardings=(replicated, split, replicated),
        out_shardings=replicated,
    )
    return function.lower(*arguments).compile(), arguments


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(np.float64)


def relative(found, expected):
    """||found - expected|| / ||expected||."""
    return float(np.linalg.norm(flat(found) - flat(expected)) / np.linalg.norm(flat(expected)))


def worst_array(found, expected):
    """The same of the worst array; one of less than a twentieth of the whole counts as that much.

    In exact arithmetic the gradient of a bias that BatchNorm takes away again is 0.
    """
    least = 0.05 * np.linalg.norm(flat(expected))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return float(max(np.linalg.norm(a - b) / max(np.linalg.norm(b), least) for a, b in pairs))


def compare_steps(model_config, objective):
    """One step on one device and on all of them."""
    recipe, before, images = started(model_config, objective, BATCH)
    after = []
    for devices in (1, DEVICES):
        compiled, arguments = compile_step(devices, recipe, before, images)
        after.append(jax.device_get(compiled(*arguments)))
    (one, one_metrics), (all_of_them, metrics) = after
    old = jax.device_get(before.variables)
    change = [jax.tree.map(np.subtract, new.variables["batch_stats"], old["batch_stats"]) for new in (all_of_them, one)]
    found = {
        "loss": relative(metrics["loss"], one_metrics["loss"]),
        "gradient": relative(all_of_them.optimizer.trace, one.optimizer.trace),
        "gradient, worst array": worst_array(all_of_them.optimizer.trace, one.optimizer.trace),
        "running averages": relative(*change),
        "metrics": float(max(abs(metrics[name] - x) / max(1.0, abs(x)) for name, x in one_metrics.items())),
    }
    if one.discriminator is not None:
        gradients = all_of_them.discriminator.optimizer.trace, one.discriminator.optimizer.trace
        found["discriminator's gradient"] = relative(*gradients)
        found["discriminator's gradient, worst array"] = worst_array(*gradients)
    return found


def compare_with_local(model_config, objective):
    """What each device would make of its own part, averaged: what data parallelism must not be."""
    recipe, state, images = started(model_config, objective, BATCH)
    noise = sample_noise(jax.random.key(3), recipe.model.latent_sizes, BATCH)
    parts = jax.tree.map(lambda leaf: leaf.reshape(DEVICES, -1, *leaf.shape[1:]), (images, noise))

    def whole(params):
        return step.loss(params, state, images, noise, recipe)[0]

    def averaged(params):
        return jnp.mean(jax.vmap(lambda images, noise: step.loss(params, state, images, noise, recipe)[0])(*parts))

    @jax.jit
    def both(params):
        return jax.value_and_grad(averaged)(params), jax.value_and_grad(whole)(params)

    local, expected = jax.device_get(both(state.variables["params"]))
    return {"loss": relative(local[0], expected[0]), "gradient": relative(local[1], expected[1])}


def measure_split(objective):
    """What each device does in a step of a large batch, read from its program."""
    model_config = {**MLP, "latent_sizes": (LARGE_LATENT,)}
    recipe, state, images = started(model_config, objective, LARGE_BATCH)
    found = {}
    for devices in (1, DEVICES):
        compiled, _ = compile_step(devices, recipe, state, images)
        text = compiled.as_text()
        shapes = {tuple(map(int, dims.split(","))) for dims in re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text)}
        collectives = re.findall(
            r"= (.*?) (all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute)(?:-start)?\(", text
        )
        found[str(devices)] = {
            "flops": compiled.cost_analysis()["flops"],
            "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
            # The analysis counts a loop's body once.
            "loops": sorted(map(int, re.findall(r'"known_trip_count":\{"n":"(\d+)"', text))),
            "shapes": sorted(shapes),
            "collectives": [
                (
                    kind,
                    [[int(size) for size in dims.split(",") if size] for dims in re.findall(r"\[([\d,]*)\]", result)],
                )
                for result, kind in collectives
            ],
        }
    return found


def measure_parameters():
    """What a device holds of the state, and the parameters it fetches in a step, whole or split."""
    recipe, state, images = started({**MLP, "widths": (256,), "latent_sizes": (8,)}, {"beta": 6.0}, BATCH)
    split, replicated = data_parallel()
    found = {}
    for name, above_mib in (("whole", 0.0), ("split", 1e-3)):
        where = split_large(state, replicated, above_mib)
        compiled = (
            jax.jit(
                functools.partial(step.train_step, recipe=recipe),
                in_shardings=(where, split, replicated),
                out_shardings=(where, replicated),
            )
            .lower(state, images, jax.random.key(3))
            .compile()
        )
        gathers = re.findall(r"f32\[([\d,]+)\]\S* all-gather", compiled.as_text())
        sizes = [math.prod(map(int, dims.split(","))) for dims in gathers]
        found[name] = {
            "argument_bytes": compiled.memory_analysis().argument_size_in_bytes,
            # The aggregate posterior's means and log_stds are smaller.
            "gathered": sum(size > BATCH * 8 for size in sizes),
        }
    return found


def interrupt(step, evaluation):
    signal.raise_signal(signal.SIGINT)


def compare_runs(folder):
    """A FactorVAE's training on one device, on all, and gone on with after an interruption on other numbers of them.

    SPLIT: with all but the smallest arrays split over the devices.
    """
    splits = data.load(DATA, (-1.0, 1.0))
    model = models.build({**MLP, "latent_sizes": (3, 2)}, splits.train.image_shape)

    def train(name, devices, on_evaluation=None, **changes):
        with mock.patch.object(trainer, "data_parallel", lambda: data_parallel(jax.devices()[:devices])):
            settings = make_settings(FACTOR_VAE, **changes)
            return jax.device_get(training.train(model, splits, settings, folder / name, on_evaluation=on_evaluation))

    def rows(name):
        kept = training.read_metrics(folder / name)
        return [{key: value for key, value in row.items() if key != "images_per_second"} for row in kept]

    def differences(name, state):
        pairs = list(zip(rows(name), rows("one"), strict=True))
        assert all(ours.keys() == theirs.keys() and ours["step"] == theirs["step"] for ours, theirs in pairs)
        numbers = [(row, other, key) for row, other in pairs for key in row if key not in ("step", "split")]
        parameters = [
            np.abs(a - b).max()
            for a, b in zip(jax.tree.leaves(state.variables), jax.tree.leaves(one.variables), strict=True)
        ]
        return {
            "metrics": max(abs(row[key] - other[key]) / max(1.0, abs(other[key])) for row, other, key in numbers),
            "variables": float(max(parameters)),
            "discriminator": float(np.abs(flat(state.discriminator) - flat(one.discriminator)).max()),
        }

    one = train("one", 1)
    split = train("split", DEVICES, **SPLIT)
    found = {"on all": differences("eight", train("eight", DEVICES)), "split over all": differences("split", split)}
    try:
        train("broken", DEVICES, interrupt)
    except KeyboardInterrupt:
        shutil.copytree(folder / "broken", folder / "moved")
    with Checkpoints(folder / "broken" / "checkpoints") as checkpoints:
        found["interrupted_at"] = checkpoints.latest_step
    found["gone on with on all"] = differences("broken", train("broken", DEVICES))
    found["resumed_rows_are_the_same"] = rows("broken") == rows("eight")
    found["gone on with on one"] = differences("moved", train("moved", 1))
    try:
        train("half", 4, interrupt, **SPLIT)
    except KeyboardInterrupt:
        shutil.copytree(folder / "half", folder / "alone")
    found["gone on with, from four to all, split"] = differences("half", train("half", DEVICES, **SPLIT))
    found["gone on with, from four to one"] = differences("alone", train("alone", 1, **SPLIT))
    try:
        train("refused", DEVICES, batch_size=20)
    except ValueError as error:
        found["refusal"] = str(error)
    found["refused_wrote"] = (folder / "refused").exists()
    return found


def main(out):
    with tempfile.TemporaryDirectory() as folder:
        # A run that goes on compiles what the run before it has compiled.
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        found = {
            "objectives": {name: compare_steps(*case) for name, case in OBJECTIVES.items()},
            "local": {name: compare_with_local(*case) for name, case in LOCAL.items()},
            "split": measure_split({"beta": 6.0}),
            "parameters": measure_parameters(),
            "runs": compare_runs(pathlib.Path(folder)),
        }
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
