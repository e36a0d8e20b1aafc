"""Sootla 2018 in small: JointVAE, VAE, and VAE with weight decay on MNIST, for its Fig. 4.1 to 4.3 and its tables.

    python launch/prepare_data.py --dataset=mnist
    python launch/sweep.py --sweep=configs/sweeps/s18_small.py

Without TensorFlow, or with data of your own, name other files: --sweep.data_sets.mnist.name=npz:mnist.npz.

3 cells, each with 10 Gaussian latents and a 10-way Concrete one at temperature 0.1, under a Bernoulli likelihood:

  joint_vae         gamma = 30, capacities from 0 to 5 nats over the whole training
  vae               the plain ELBO
  vae_weight_decay  the same with weight decay 0.5

Evaluation and attacks decode the arg max of the Concrete logits, as the thesis does (model.hard_samples).

The attack is that of its Sec. 3.3: Adam, 1000 steps of 1e-3, lambda = 1, from x + N(0, 0.2^2), on test images: 5 of
each digit, each against one of every other digit (digits, 450 pairs), and the first 100 against one more (gallery).
That one is an 8, as the paper's, where the files are MNIST's own or hold its images in their order; those of TensorFlow
Datasets have another. Ours: dense networks of two layers of 256, batches of 128, 10,000 steps of 1e-3, and a
classifier trained on 20,000 images.

For its own size: s18_paper.py. A cell took 7 minutes of one shared CPU core; docs/results/s18_small/ has the numbers.
"""

from ml_collections import ConfigDict

from configs import _base

_STEPS = 10_000
# An 8, where images come in the order of MNIST's own files and the project's permutation of them.
_TARGET = 105
_GALLERY = ",".join(f"{source}-{_TARGET}" for source in range(100))


def get_config() -> ConfigDict:
    base = _base.mnist()
    base.model.update(network="mlp", widths=(256, 256))
    base.optimizer.learning_rate = 1e-3
    base.train.update(steps=_STEPS, batch_size=128, evaluate_every=2_000, checkpoint_every=2_000)
    capacity = {"beta": 30.0, "penalty": "capacity", "capacity": (5.0, 5.0), "capacity_annealing_steps": _STEPS}
    # What --attack=sootla stands for, on test images.
    attack = {
        "divergence": "joint_l2",
        "budgets": (1.0,),
        "solver": "adam",
        "iterations": 1000,
        "keep_best": False,
        "start_std": 0.2,
        "exchanges": 0,
        "split": "test",
    }
    return ConfigDict(
        {
            "base": base,
            "data_sets": {"mnist": base.data.to_dict()},
            "models": {
                "joint_vae": {"objective": capacity},
                "vae": {},
                "vae_weight_decay": {"optimizer": {"weight_decay": 0.5}},
            },
            "grids": {"all": {"data": ("mnist",), "model": ("joint_vae", "vae", "vae_weight_decay"), "seed": (0,)}},
            "together": 1,
            "attacks": {
                "digits": {**attack, "pairs_by": "all_labels", "pairs": 5},
                "gallery": {**attack, "pairs_by": _GALLERY},
            },
            "evaluate": {
                "measures": ("weight_norms", "active_units", "elbo", "traversals", "attack_success"),
                "split": "test",
                "images": 3000,
                "training_images": 20_000,
            },
        }
    )
