"""beta-TCVAEs of 8 and 32 latents with their mutual information gaps, for Fig. E.11 of Willetts et al. 2021.

    python launch/sweep.py --sweep=configs/sweeps/w21_disentanglement.py
    python launch/figures.py --sweep=runs/sweeps/w21_disentanglement --figure=w21_e11

12 cells: beta in {1, 2, 4, 6, 8, 10}, d_z in {8, 32}, on the embedded sprites at 32 x 32, whose factors are known; the
networks, steps and attacks of w21_small.py. With Fig. 3 they widen its pool of latent sizes.

A cell took 4 minutes of a shared CPU core. Those of beta in {1, 4, 10} have been run,
docs/results/w21_disentanglement/ has their numbers.
"""

from ml_collections import ConfigDict

from configs.sweeps import w21_small


def get_config() -> ConfigDict:
    config = w21_small.get_config()
    axes = {"data": ("sprites",), "model": ("beta_tcvae",), "L": (1,), "d_z": (8, 32), "seed": (0,)}
    return ConfigDict(
        {
            "base": config.base,
            "data_sets": {"sprites": config.data_sets.sprites},
            "models": {"beta_tcvae": config.models.beta_tcvae},
            "grids": {"all": {**axes, "beta": config.grids.one_layer.beta}},
            "together": 1,
            "attacks": {"all_layers": config.attacks.all_layers},
            "evaluate": {"measures": ("elbo", "mig"), "images": 3000},
        }
    )
