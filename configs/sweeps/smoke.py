"""The smallest sweep: two models under two betas on mock data, trained, attacked, certified and measured.

    python launch/sweep.py --sweep=configs/sweeps/smoke.py

It is for trying out what a sweep does and leaves, in runs/sweeps/smoke/; its numbers mean nothing. 4 cells, trained two
by two; about 45 s of one core, nearly all of it compiling.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config() -> ConfigDict:
    base = _base.apply(_base.sprites(), "smoke")
    base.model.update(network="mlp", widths=(8,))
    return ConfigDict(
        {
            "base": base,
            "models": {
                "beta_vae": {"objective": {"penalty": "kl"}, "model": {"latent_sizes": (3,)}},
                "seatbelt": {"objective": {"penalty": "total_correlation"}, "model": {"latent_sizes": (3, 2)}},
            },
            "grids": {"all": {"model": ("beta_vae", "seatbelt"), "beta": (1.0, 4.0)}},
            "attacks": {"latent": {"pairs": 2, "budgets": (0.1, 1.0), "iterations": 3, "exchanges": 0}},
            "certify": {"methods": ("spectral", "hierarchical"), "images": 2, "samples": 12, "radius": 50.0},
            "evaluate": {
                "measures": ("active_units", "posterior_std", "elbo", "importance_weighted"),
                "images": 20,
                "samples": 3,
                "samples_images": 4,
            },
        }
    )
