"""CelebA models of Willetts et al. 2021 and 2019: Fig. 1, 2 and 6 c of the one, Fig. 3 and 8 of the other.

    python launch/prepare_data.py --dataset=celeb_a
    python launch/sweep.py --sweep=configs/sweeps/w21_celeba.py
    python launch/figures.py --sweep=runs/sweeps/w21_celeba

From the papers: crop, networks for RGB images, likelihood, batches of 1,024, beta in {1, 2, 4, 6, 8, 10} and 20 (the
reconstructions of Fig. 6 c), models of four layers of 256, 128, 64 and 32 latents, 10 pairs under 50 penalties. Ours:
64 latents in the models of one layer, free bits of 0.5 nats a layer, 50 epochs.

28 cells, for accelerators; not run yet, so there are no times and no scores to expect.
"""

from ml_collections import ConfigDict

from configs import _base
from configs.sweeps import w21_small

_BETAS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0)


def get_config() -> ConfigDict:
    base = _base.celeba()
    axes = {"data": ("celeb_a",), "beta": _BETAS, "seed": (0,)}
    return ConfigDict(
        {
            "base": base,
            "data_sets": {"celeb_a": base.data},
            "models": w21_small.get_config().models,
            "grids": {
                "one_layer": {**axes, "model": ("beta_vae", "beta_tcvae"), "L": (1,), "d_z": (64,)},
                "layers": {**axes, "model": ("seatbelt", "beta_tcdlgm"), "L": (4,), "d_z": (256,)},
            },
            "together": 0,
            "attacks": {"all_layers": {"pairs": 10, "penalties": 50}},
            "evaluate": {
                "measures": ("weight_norms", "active_units", "posterior_std", "noise_robustness", "elbo"),
                "images": 3000,
            },
        }
    )
