"""Measures of attacks by classifiers: of the model's reconstructions, of its codes, and of images."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seatbelt_jax import attacks, data, metrics, models, training
from seatbelt_jax.jobs.evaluation import NotApplicableError, Task, first, labels_of
from seatbelt_jax.metrics.batches import map_images
from seatbelt_jax.results import AttackResult, files
from seatbelt_jax.vae import VAE

# Downstream tasks of Willetts et al. 2021, Table 1: what the classifier is, and what it reads.
_TASKS: dict[str, tuple[Any, str]] = {
    "mlp_reconstructions": ("mlp", "reconstructions"),
    "conv_reconstructions": ("conv", "reconstructions"),
    "mlp_codes": ("mlp", "codes"),
}


def downstream(task: Task) -> dict[str, Any]:
    """Accuracy of classifiers when codes are attacked, lambda = 1, with targets of other labels: Table 1 of Willetts
    et al. 2021."""
    labels = labels_of(task.splits, task.images)
    try:
        pairs = attacks.label_pairs(labels, task.options.pairs, seed=task.options.seed)
    except ValueError as error:
        raise NotApplicableError(f"--pairs={task.options.pairs}: {error}") from error
    sources, targets = (np.asarray(task.images.images(column)) for column in pairs.T)
    result = attacks.sweep(
        task.vae, sources, targets, threat=attacks.Penalty(np.array([1.0])), seed=task.options.seed, progress=True
    )
    train = first(task.splits.train, task.options.training_images)
    inputs = {name: _outputs(task.vae, part) for name, part in (("train", train), ("held_out", task.images))}
    inputs |= {"clean": _outputs(task.vae, sources), "attacked": _outputs(task.vae, result.adversarial[:, 0])}
    train_labels = labels_of(task.splits, train)
    classes = 1 + int(max(labels.max(), train_labels.max()))
    answer: dict[str, Any] = {
        "pairs": len(pairs),
        "training_images": train.size,
        "share_suspicious": np.mean(attacks.diagnose(result).suspicious),
        "median_distortion_l2": np.median(result.distortion_norm),
    }
    for task_name, (architecture, read) in _TASKS.items():
        try:
            classifier = models.Classifier(architecture, inputs["train"][read].shape[1:], classes)
        except ValueError as error:
            answer[task_name] = {"skipped": str(error)}
            continue
        trained = training.train_classifier(
            *(classifier, inputs["train"][read], train_labels, inputs["held_out"][read], labels),
            key=task.key,
            epochs=task.options.epochs,
            progress=True,
        )
        found = metrics.downstream_accuracy(
            trained, inputs["clean"][read], inputs["attacked"][read], *(labels[column] for column in pairs.T)
        )
        answer[task_name] = {"held_out_accuracy": trained.held_out_accuracy, **found.rates()}
    return answer


def attack_success(task: Task) -> dict[str, Any]:
    """AS of Sootla 2018 for every sweep of attacks in the run whose pairs have labels, by a classifier of images."""
    found = _attacks(task)
    if not found:
        raise NotApplicableError(
            "the run has no targeted attacks on this step's model with labels; make some: seatbelt attack "
            f"--run={task.opened.path} --attack=sootla --pairs_by=all_labels"
        )
    train, held_out = first(task.splits.train, task.options.training_images), task.images
    labels = labels_of(task.splits, train), labels_of(task.splits, held_out)
    classes = 1 + int(max(map(np.max, labels)))
    architecture: Any = "sootla" if min(task.vae.image_shape[:2]) >= models.SOOTLA_LEAST_SIDE else "mlp"
    trained = training.train_classifier(
        models.Classifier(architecture, tuple(task.vae.image_shape), classes),
        *(_everything(train), labels[0], _everything(held_out), labels[1]),
        key=task.key,
        epochs=task.options.epochs,
        progress=True,
    )
    answer: dict[str, Any] = {"classifier": architecture, "held_out_accuracy": trained.held_out_accuracy}
    for name, result in found.items():
        of_pairs = np.asarray(result.source_label), np.asarray(result.target_label)
        success = metrics.attack_success(result, trained, *of_pairs)
        counts = {"counted_pairs": int(success.counted.sum()), **success.label_pairs()}
        answer[name] = {"budgets": result.budgets, **counts, **success.rates()}
        # For a sweep over budgets these tables would be longer than everything else.
        if result.budgets.size == 1:
            tables = {**success.matrix(classes), **success.marginals(classes)}
            answer[name] |= {table: values[0] for table, values in tables.items()}
    return answer


def _everything(images: data.Dataset) -> Float[np.ndarray, "image height width channels"]:
    return np.asarray(images.images(np.arange(images.size, dtype=np.int32)))


def _outputs(vae: VAE, images: Any) -> dict[str, Float[np.ndarray, "image ..."]]:
    """What classifiers may read: reconstructions, and the codes of all layers, along the mean path."""
    return map_images(_outputs_of_batch, vae, images, batch_size=256)


def _outputs_of_batch(vae: VAE, images: Float[Array, "batch *image"], _: Array) -> dict[str, Array]:
    latents = vae.encode(images, vae.mean_path(images.shape[0])).latents
    return {
        "reconstructions": vae.likelihood.mean(vae.decode(latents)),
        "codes": jnp.concatenate(latents, axis=-1),
    }


def _attacks(task: Task) -> dict[str, AttackResult]:
    """Sweeps on the model of this step and on this split that have targets and labels, by their names."""
    current, _ = files.current(task.opened.path / "attacks", task.step)
    results = {file.stem: files.read(file, AttackResult) for file in current}
    return {
        name: result
        for name, result in results.items()
        if result.split == task.options.split and result.source_label is not None and result.targeted
    }
