"""Output and Wasserstein attacks on models of w21_small.py: Willetts et al. 2021, Fig. 5 and E.10; 2019, Fig. 5 to 7.

    python launch/sweep.py --sweep=configs/sweeps/w21_output.py
    python launch/figures.py --sweep=runs/sweeps/w21_small --sweep=runs/sweeps/w21_output --figure=w21_5

54 cells: beta_tcvae, and seatbelt and beta_tcdlgm of L = 4, as w21_small.py has them, attacked by the ELBO of the
target (Eq. 2), by the squared distance to it (Gondim-Ribeiro et al. 2018) and by the latents' Wasserstein distance; not
certified, not measured. They are trained anew, as there, and on the same machine to the same weights; figures put the
tables of both together.

A cell of four layers took 6 minutes of a shared CPU core, of one layer 5. Those of beta = 1 and 10 of beta_tcvae and
seatbelt on the sprites and MNIST have been run, docs/results/w21_output/ has their numbers.
"""

from ml_collections import ConfigDict

from configs.sweeps import w21_small


def get_config() -> ConfigDict:
    config = w21_small.get_config()
    grids = {
        "one_layer": {**config.grids.one_layer.to_dict(), "model": ("beta_tcvae",)},
        "layers": {**config.grids.layers.to_dict(), "model": ("seatbelt", "beta_tcdlgm"), "L": (4,)},
    }
    attack = {"pairs": 10, "penalties": 20, "iterations": 300}
    attacks = {
        "output_elbo": {**attack, "attack": "output_elbo"},
        "output_l2": {**attack, "attack": "output_l2"},
        "w2": {**attack, "divergence": "w2"},
    }
    kept = ("base", "data_sets", "models", "together")
    return ConfigDict({**{name: config[name] for name in kept}, "grids": grids, "attacks": attacks})
