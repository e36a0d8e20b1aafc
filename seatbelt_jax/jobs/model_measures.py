"""Measures of a model on its data: likelihoods, latents, disentanglement, weights."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax import data, metrics, models, plots, storage
from seatbelt_jax.concrete import Concrete
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.jobs.evaluation import NotApplicableError, Task, first
from seatbelt_jax.metrics.batches import map_images
from seatbelt_jax.vae import VAE

# Units shown in a figure of traversals, the most active ones.
_SHOWN_UNITS = 10
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def elbo(task: Task) -> dict[str, Any]:
    """The ELBO without beta, split up by the aggregate posterior, exact for one layer and bracketed for more."""
    found = metrics.elbo_decomposition(task.vae, task.images, task.key, paths=task.options.paths, progress=True)
    paths = {} if found.brackets is None else {"paths": found.brackets.paths}
    return {"images": len(found.numbers), "aggregate_posterior_images": found.dataset_size, **paths, **found.means()}


def importance_weighted(task: Task) -> dict[str, Any]:
    """log p(x) by importance weights (Burda et al. 2016)."""
    if any(isinstance(q, Concrete) for q in _posteriors(task.vae)):
        raise NotApplicableError("the model has Concrete latents, which have no importance weights")
    images, samples = first(task.images, task.options.samples_images), task.options.samples
    found = metrics.importance_weighted_bound(task.vae, images, task.key, num_samples=samples, progress=True)
    return {
        "images": images.size,
        "samples": samples,
        "log_likelihood_nats": np.mean(found.log_likelihood, dtype=np.float64),
        "log_likelihood_nats_error": np.std(found.log_likelihood, dtype=np.float64) / math.sqrt(images.size),
        "median_effective_sample_size": np.median(found.effective_sample_size),
    }


def active_units(task: Task) -> dict[str, Any]:
    """Units whose mean varies by more than 0.01 over images, along the mean path."""
    if task.images.size < 2:
        raise NotApplicableError("activity is a variance over images, of which there is one")
    found = metrics.active_units(task.vae, task.images, progress=True)
    return {
        "images": task.images.size,
        "threshold": found.threshold,
        **{f"active_{layer}": count for layer, count in enumerate(found.counts, 1)},
        **{f"activity_{layer}": activity for layer, activity in enumerate(found.activity, 1)},
    }


def posterior_std(task: Task) -> dict[str, Any]:
    """||sigma(x)||_2 per layer along the mean path: quantiles, and the density of Willetts et al. 2021, Fig. 2."""
    norms = metrics.posterior_std_norms(task.vae, task.images, progress=True)
    layers = {f"layer_{layer}": _spread(values) for layer, values in enumerate(norms, 1) if not np.isnan(values).any()}
    return {"images": task.images.size, "unit": "latent units", **layers}


def noise_robustness(task: Task) -> dict[str, Any]:
    """log p(x|z), z ~ q(.|x + a eps), of Willetts et al. 2021, Fig. F.12, and without noise."""
    scales = (0.0, 0.1, 0.5, 1.0)
    found = metrics.noise_robustness(task.vae, task.images, task.key, scales=scales, progress=True)
    return {
        "images": task.images.size,
        "unit": "nats",
        **{f"scale_{scale:g}": _spread(values) for scale, values in zip(scales, found, strict=True)},
    }


def mig(task: Task) -> dict[str, Any]:
    """The mutual information gap on a full grid of factors: of each layer, and of the units of all layers together."""
    images, factors = _factor_grid(task.splits, task.options.levels)
    found = map_images(_gaussian_posteriors, task.vae, images, batch_size=256, progress=True, description="MIG")
    everything = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *found)
    answer: dict[str, Any] = {"images": images.size, "levels": [len(np.unique(column)) for column in factors.T]}
    if everything.mean.shape[1] < 2:
        raise NotApplicableError("the model has one Gaussian unit, and the gap is between two")
    # What a unit knows does not depend on the others: layers are columns of what all units know.
    gap = metrics.mutual_information_gap(everything, factors, task.key)
    ends = np.cumsum([q.mean.shape[1] for q in found])
    units = {
        f"layer_{layer}": slice(end - q.mean.shape[1], end)
        for layer, q, end in zip(_gaussian_layers(task.vae), found, ends, strict=True)
    }
    if len(found) > 1:
        units["all_layers"] = slice(None)
    for name, of_layer in units.items():
        known, error = gap.mutual_information[:, of_layer], gap.standard_error[:, of_layer]
        if known.shape[1] > 1:
            layer_gap = metrics.MutualInformationGap(known, error, gap.factor_entropy)
            answer[name] = {
                "mig": layer_gap.mig,
                "gaps": layer_gap.gaps,
                "mutual_information_nats": known,
                "largest_standard_error_nats": error.max(),
            }
    return answer


def weight_norms(task: Task) -> dict[str, Any]:
    """||W||_2 of the encoder's and the decoder's weights, together and by layer (Willetts et al. 2019, Table 1)."""
    if task.opened.is_own:
        raise NotApplicableError("which weights are the encoder's is not known of a model of your own")
    networks = zip(("encoder", "decoder"), models.encoder_and_decoder(task.variables["params"]), strict=True)
    norms = {name: metrics.weight_norms(parameters) for name, parameters in networks}
    totals = {name: metrics.total_norm(layers) for name, layers in norms.items()}
    return {**totals, **{f"{name}_layers": layers for name, layers in norms.items()}}


def traversals(task: Task) -> dict[str, Any]:
    """A figure for each layer of what its most active units change."""
    if task.images.size < 2:
        raise NotApplicableError("which units are active takes at least 2 images")
    activity = metrics.active_units(task.vae, first(task.images, 1000)).activity
    answer: dict[str, Any] = {}
    for layer, of_units in enumerate(activity, 1):
        units = np.argsort(-of_units, kind="stable")[:_SHOWN_UNITS]
        pictures = metrics.latent_traversal(task.vae, layer, coordinates=units.tolist())
        name = f"figures/traversals_{layer}.png"
        storage.write_bytes(task.opened.path / name, plots.image_grid(pictures, task.vae.likelihood.image_range))
        answer[f"layer_{layer}"] = {"figure": name, "units": units}
    return answer


def _posteriors(vae: VAE) -> tuple[Any, ...]:
    """The posteriors of one black image, as shapes."""
    image = jax.ShapeDtypeStruct((1, *vae.image_shape), np.float32)
    return jax.eval_shape(vae.encode, image, vae.mean_path(1)).posteriors


def _gaussian_posteriors(vae: VAE, images: Float[Array, "batch *image"], _: Array) -> list[DiagonalGaussian]:
    every = vae.encode(images, vae.mean_path(images.shape[0])).posteriors
    return [q for q in every if isinstance(q, DiagonalGaussian)]


def _gaussian_layers(vae: VAE) -> list[int]:
    return [layer for layer, q in enumerate(_posteriors(vae), 1) if isinstance(q, DiagonalGaussian)]


def _spread(values: Float[np.ndarray, " image"]) -> dict[str, Any]:
    """Mean, standard deviation and quantiles, and the density where there is one."""
    found: dict[str, Any] = {"mean": np.mean(values, dtype=np.float64), "std": np.std(values, dtype=np.float64)}
    found |= {f"quantile_{share:g}": np.quantile(values, share) for share in _QUANTILES}
    try:
        density = metrics.kernel_density(values)
    except ValueError as error:
        return {**found, "no_density": str(error)}
    return {**found, "density_grid": density.grid, "density": density.density, "bandwidth": density.bandwidth}


def _factor_grid(splits: data.Splits, most: int) -> tuple[data.Dataset, Int[np.ndarray, "image factor"]]:
    """The images of a full grid of factors, at most so many evenly spaced levels of each, from all parts together."""
    parts = [part for part in (splits.train, splits.validation, splits.test) if part is not None]
    known = [part.factors for part in parts]
    if any(factors is None for factors in known):
        raise NotApplicableError(f"the factors of {splits.train.name} are not known")
    levels = [np.asarray(part.factors(np.arange(part.size, dtype=np.int32))) for part in parts if part.factors]
    everything = np.concatenate(levels)
    kept = np.ones(len(everything), bool)
    for column in everything.T:
        values = np.unique(column)
        kept &= np.isin(column, values[:: -(-len(values) // most)])
    chosen = np.flatnonzero(kept)
    starts = np.cumsum([0, *(part.size for part in parts)])

    def images(numbers: Array | np.ndarray) -> Float[np.ndarray, "batch height width channels"]:
        places = chosen[np.asarray(numbers)]
        batch = np.empty((len(places), *splits.train.image_shape), np.float32)
        for part, start in zip(parts, starts, strict=False):
            here = (places >= start) & (places < start + part.size)
            if here.any():
                batch[here] = np.asarray(part.images((places[here] - start).astype(np.int32)))
        return batch

    grid = dataclasses.replace(splits.train, size=len(chosen), images=images)
    return grid, everything[chosen]
