"""Camuto et al. 2021 in small: beta-VAEs, and VAEs whose sigma is offset by tau, on MNIST, for their Fig. 4 to 9.

    python launch/prepare_data.py --dataset=mnist
    python launch/sweep.py --sweep=configs/sweeps/c21_small.py

Without TensorFlow, or with data of your own, name other files: --sweep.data_sets.mnist.name=npz:mnist.npz.

6 cells of one layer of 24 latents: the paper's beta in {0.1, 1, 10} without an offset, and its tau in {0, 0.1, 0.5, 1}
at beta = 1. The paper names no networks, likelihood or training. Ours: dense networks of two layers of 256, a Gaussian
likelihood with sigma 0.1, images in [-1, 1] padded to 32 x 32, batches of 512 and 3,000 steps.

Distances in [-1, 1] are twice those in [0, 1]. The paper does not say which range it has; r = 8 and attacks of
norm 20 at most here are its r = 4 and 10 if its images are in [0, 1].

Maximum damage attacks on the first 25 validation images, through mean, sigma, and both, each averaged over 8 draws;
through both in smaller balls, too (norms). Margins of the same images by Theorem 1 of the paper (camuto), by bounds
that are tighter (spectral, antithetic) or assume less (moving_std, lipschitz), and, from above, by attack with sigma
frozen at the image (its Eq. 3); not by linear_region, as an offset makes the encoder smooth. The paper has 25 images in
Fig. 4 and 6, and the entire data set in Fig. 7 and 9: c21_paper.py.

A cell took 12 to 15 minutes of a shared CPU core; docs/results/c21_small/ has the numbers.
"""

from ml_collections import ConfigDict

from configs import _base

# The images that are certified, from the first, so that damage and margin are of the same ones; each needs a target,
# which attacks for damage do not look at.
_IMAGES = 25
_FIRST = ",".join(f"{image}-{image + 1}" for image in range(_IMAGES))
_STORED = {**_base.DATA, "image_size": 32, "fit": "pad"}


def get_config() -> ConfigDict:
    base = _base.apply(_base.sprites(), "small", ("small",))
    base.model.update(widths=(256, 256), latent_sizes=(24,))
    base.objective.penalty = "kl"
    base.train.update(steps=3_000, evaluate_every=1_000, checkpoint_every=1_000)
    attack = {"attack": "maximum_damage", "pairs_by": _FIRST, "draws": 8, "budgets": (20.0,), "iterations": 200}
    return ConfigDict(
        {
            "base": base,
            "data_sets": {name: {**_STORED, "name": name} for name in ("mnist", "fashion_mnist", "cifar10")},
            "grids": {
                "beta": {"data": ("mnist",), "beta": (0.1, 1.0, 10.0), "tau": (0.0,), "seed": (0,)},
                "tau": {"data": ("mnist",), "beta": (1.0,), "tau": (0.0, 0.1, 0.5, 1.0), "seed": (0,)},
            },
            # On two cores, betas in one program take longer than one by one; on a GPU give 0, for all.
            "together": 1,
            "attacks": {
                "damage_mean": {**attack, "through": "mean"},
                "damage_std": {**attack, "through": "std"},
                "damage_both": {**attack, "through": "both"},
                "damage_norms": {**attack, "through": "both", "budgets": (2.0, 4.0, 8.0, 12.0, 16.0)},
            },
            "certify": {
                "methods": ("camuto", "spectral", "antithetic", "moving_std", "lipschitz"),
                "images": _IMAGES,
                "radius": 8.0,
                "samples": 2000,
                "empirical": _IMAGES,
                "frozen_std": True,
            },
            "evaluate": {
                "measures": ("weight_norms", "active_units", "posterior_std", "noise_robustness", "elbo"),
                "images": 3000,
            },
        }
    )
