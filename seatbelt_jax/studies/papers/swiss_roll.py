"""Figure A.7 of Willetts et al. 2021.

Trains a VAE, and a beta-VAE and a beta-TCVAE each at beta 8, 32 and 128, all with two latents, on the Swiss roll.
Each is a run of its own in one folder; there too come swiss_roll.png, their aggregate posteriors and
reconstructions, and measures.csv. Interrupted and started again, it goes on where it was.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from seatbelt_jax import configurations, data, elbo, plots, runs, storage
from seatbelt_jax.data import swiss_roll
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.jobs import run_data, train
from seatbelt_jax.vae import VAE, Encoding

BETAS = (8.0, 32.0, 128.0)
_SEED = 0
_COLUMNS = {
    "ELBO": "elbo_nats",
    "RMS error": "reconstruction_rms_distance",
    "mean std": "mean_posterior_std",
    "MI": "mutual_information_nats",
    "TC": "total_correlation_nats",
    "dim.-wise KL": "dimension_wise_kl_nats",
}


def experiments(betas: Sequence[float]) -> dict[str, dict]:
    """The experiments by name: vae, then beta_vae_BETA and beta_tcvae_BETA for each beta."""
    found = {"vae": configurations.load("swiss_roll").to_dict()}
    for beta in betas:
        for kind in ("beta_vae", "beta_tcvae"):
            penalised = configurations.load("swiss_roll", kind)
            penalised.objective.beta = beta
            found[f"{kind}_{beta:g}"] = penalised.to_dict()
    return found


def reproduce(chosen: Mapping[str, dict], root: pathlib.Path) -> list[dict[str, Any]]:
    """Trains those of `experiments` that are not trained yet, draws and measures them all.

    Returns:
      the measures, one row per model, as measures.csv has them.
    """
    for name, experiment in chosen.items():
        train.train(experiment, root / name)
    rows, models = [], {}
    for name in chosen:
        opened = runs.open(root / name)
        models[name], measures = _measure(opened)
        rows.append({"model": name, "beta": opened.config["objective"]["beta"], **measures})
    storage.write_csv(root / "measures.csv", rows)

    validation = run_data.splits_of(opened, opened.load_vae().likelihood.image_range).validation
    numbers = jnp.arange(validation.size)
    picture = plots.swiss_roll_figure(
        np.asarray(validation.images(numbers)).reshape(-1, 3),
        # The validation points have in the whole roll the numbers that they have here.
        np.asarray(swiss_roll.coordinates_from_index(numbers))[:, 0],
        models["vae"],
        {
            row["beta"]: (models[row["model"]], models[row["model"].replace("beta_vae", "beta_tcvae")])
            for row in rows
            if row["model"].startswith("beta_vae")
        },
    )
    storage.write_bytes(root / "swiss_roll.png", picture)
    return rows


def _measure(opened: runs.Run) -> tuple[plots.RollModel, dict[str, float]]:
    """What the figure shows of a model, and its measures.

    ELBO, reconstructions and posterior std are of the validation points. The terms of the aggregate posterior are of
    the training points, with the posteriors of all of them as its components.
    """
    vae = opened.load_vae()
    splits = run_data.splits_of(opened, vae.likelihood.image_range)
    keys = jax.random.split(jax.random.key(_SEED))
    points, encoding, reconstructions, terms = _explain(vae, splits.validation, keys[0])
    _, _, _, train_terms = _explain(vae, splits.train, keys[1])
    posterior = encoding.posteriors[0]
    if not isinstance(posterior, DiagonalGaussian):
        raise TypeError(f"the figure shows Gaussian latents; those of {opened.path} are {type(posterior).__name__}")
    error = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(reconstructions - points), axis=-1)))
    measures = {
        "elbo_nats": float(jnp.mean(terms.elbo)),
        "reconstruction_rms_distance": float(error),
        "mean_posterior_std": float(jnp.mean(posterior.std)),
        "mutual_information_nats": float(jnp.mean(train_terms.mutual_information)),
        "total_correlation_nats": float(jnp.mean(train_terms.total_correlation)),
        "dimension_wise_kl_nats": float(jnp.mean(train_terms.dimension_wise_kl)),
    }
    shown = plots.RollModel(
        latents=np.asarray(encoding.latents[0]),
        reconstructions=np.asarray(reconstructions),
        elbo=measures["elbo_nats"],
        error=measures["reconstruction_rms_distance"],
        total_correlation=measures["total_correlation_nats"],
        mutual_information=measures["mutual_information_nats"],
    )
    return shown, measures


def _explain(
    vae: VAE, dataset: data.Dataset, key: PRNGKeyArray
) -> tuple[Float[Array, "point 3"], Encoding, Float[Array, "point 3"], elbo.ElboTerms]:
    """All points of a data set, one sample of each one's posterior, what it decodes to, and the ELBO's terms."""

    @jax.jit
    def explain(key: PRNGKeyArray) -> tuple[Array, Encoding, Array, elbo.ElboTerms]:
        images = jnp.asarray(dataset.images(jnp.arange(dataset.size)))
        encoding = vae.encode(images, vae.sample_noise(key, dataset.size))
        decoded = vae.decode(encoding.latents)
        terms = elbo.decompose(
            vae.likelihood.log_prob(decoded, images),
            encoding,
            vae.prior(encoding.latents),
            dataset_size=dataset.size,
            estimator="exact",
        )
        return images.reshape(-1, 3), encoding, vae.likelihood.mean(decoded).reshape(-1, 3), terms

    return explain(key)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The measures, one line per model."""
    lines = [" " * 16 + "".join(f"{title:>14}" for title in _COLUMNS)]
    lines += [f"{row['model']:<16}" + "".join(f"{row[name]:>z14.3f}" for name in _COLUMNS.values()) for row in rows]
    return "\n".join(lines)
