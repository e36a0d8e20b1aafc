"""Sootla 2018 at its own size: the models and attacks of s18_small.py with its networks and the whole test set.

    python launch/prepare_data.py --dataset=mnist
    python launch/sweep.py --sweep=configs/sweeps/s18_paper.py

The convolutional networks of its Table 3.1, 100,000 batches of 64 at 1e-4, a classifier trained on all training images,
and 892 sources of every digit, as many as there are of the rarest, against one of every other: 80,280 attacks on each
model. For an accelerator; not run yet, so there are no numbers to expect but the thesis's own.
"""

from ml_collections import ConfigDict

from configs import _base
from configs.sweeps import s18_small


def get_config() -> ConfigDict:
    config = s18_small.get_config()
    config.base = _base.mnist()
    config.models.joint_vae.objective.capacity_annealing_steps = config.base.train.steps
    config.attacks.digits.pairs = 892
    config.evaluate.update(images=10_000, training_images=60_000)
    config.together = 0
    return config
