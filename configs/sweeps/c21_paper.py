"""Camuto et al. 2021 at full size: the models and attacks of c21_small.py, convolutional, on three data sets.

    python launch/prepare_data.py --dataset=mnist
    python launch/prepare_data.py --dataset=fashion_mnist
    python launch/prepare_data.py --dataset=cifar10
    python launch/sweep.py --sweep=configs/sweeps/c21_paper.py

MNIST, Fashion-MNIST and CIFAR10, five networks of each, as in the paper's Fig. 6; margins by first-order bounds and by
attack of 10,000 test images, as in its Fig. 9. The paper names no networks: the ones here are those of
configs/mnist_vae_sigma_offset.py, with its 100,000 batches of 64. For accelerators; not run yet: no numbers to expect.
"""

from ml_collections import ConfigDict

from configs import _base
from configs.sweeps import c21_small

_DATA = ("mnist", "fashion_mnist", "cifar10")
_SEEDS = (0, 1, 2, 3, 4)
_ALL = 10_000


def get_config() -> ConfigDict:
    config = c21_small.get_config()
    config.base = _base.mnist()
    config.base.model.update(latent_sizes=(24,), discrete_sizes=(), hard_samples=False, likelihood="gaussian")
    for grid in config.grids.values():
        grid.update(data=_DATA, seed=_SEEDS)
    for attack in config.attacks.values():
        attack.split = "test"
    config.certify.update(
        methods=("camuto", "spectral", "antithetic", "moving_std"), split="test", images=_ALL, empirical=_ALL
    )
    config.evaluate.update(split="test", images=_ALL)
    config.together = 0
    return config
