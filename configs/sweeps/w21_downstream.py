"""Classifiers behind VAEs under attack, for Table 1 of Willetts et al. 2021.

    python launch/sweep.py --sweep=configs/sweeps/w21_downstream.py
    python launch/figures.py --sweep=runs/sweeps/w21_downstream --figure=w21_table1

6 cells: VAE (beta = 1), beta_tcvae and seatbelt of L = 4 at beta = 10, on MNIST and Fashion-MNIST, with the networks
and steps of w21_small.py; 50 pairs of different labels, lambda = 1. The paper's data, SVHN and CIFAR-10, once prepared:

    --sweep.grids.one_layer.data="('svhn','cifar10')" --sweep.grids.layers.data="('svhn','cifar10')"

and for its networks --sweep.base.model.network=conv --sweep.base.model.widths='(64,128,128)'. A cell took
3 to 7 minutes on one CPU core or two; docs/results/w21_downstream/ has the numbers.
"""

from ml_collections import ConfigDict

from configs import _base
from configs.sweeps import w21_small

_COLOUR = {**_base.DATA, "image_size": 32}


def get_config() -> ConfigDict:
    config = w21_small.get_config()
    axes = {"data": ("mnist", "fashion_mnist"), "d_z": (24,), "seed": (0,)}
    return ConfigDict(
        {
            "base": config.base,
            "data_sets": {
                "mnist": config.data_sets.mnist,
                "fashion_mnist": config.data_sets.fashion_mnist,
                "svhn": {**_COLOUR, "name": "svhn_cropped"},
                "cifar10": {**_COLOUR, "name": "cifar10"},
            },
            "models": {name: config.models[name] for name in ("beta_tcvae", "seatbelt")},
            "grids": {
                "one_layer": {**axes, "model": ("beta_tcvae",), "L": (1,), "beta": (1.0, 10.0)},
                "layers": {**axes, "model": ("seatbelt",), "L": (4,), "beta": (10.0,)},
            },
            "together": 1,
            "evaluate": {"measures": ("downstream",), "images": 3000, "training_images": 10_000, "pairs": 50},
        }
    )
