"""Attacks on the orientation of sprites alone, for Fig. 4 of Willetts et al. 2021.

    python launch/sweep.py --sweep=configs/sweeps/w21_rotation.py
    python launch/figures.py --sweep=runs/sweeps/w21_rotation --figure=w21_4

4 cells: beta_tcvae with 64 latents and seatbelt of L = 2, beta in {1, 2}, on the embedded sprites at 64 x 64, which are
the paper's pictures. Dense networks of two layers of 256 and 3,000 steps are ours; the paper's networks by
--sweep.base.model.network=conv --sweep.base.model.widths='(32,32,64,64)' --sweep.base.train.steps=36000.

The four took 55 minutes on about half a CPU core; docs/results/w21_rotation/ has the numbers.
"""

from ml_collections import ConfigDict

from configs.sweeps import w21_small


def get_config() -> ConfigDict:
    config = w21_small.get_config()
    # Latents and depths of the figure's caption; for the Seatbelt-VAE it names the depth alone.
    grids = {
        "one_layer": {"data": ("sprites",), "model": ("beta_tcvae",), "L": (1,), "d_z": (64,), "beta": (1.0, 2.0)},
        "layers": {"data": ("sprites",), "model": ("seatbelt",), "L": (2,), "d_z": (64,), "beta": (1.0, 2.0)},
    }
    return ConfigDict(
        {
            "base": config.base,
            "data_sets": {"sprites": {**config.data_sets.sprites, "image_size": 64}},
            "models": {name: config.models[name] for name in ("beta_tcvae", "seatbelt")},
            "grids": grids,
            "together": 1,
            "attacks": {"rotation": {"pairs": 5, "penalties": 50, "iterations": 300, "pairs_by": "factor:orientation"}},
        }
    )
