"""Willetts et al. 2021 in small: every model under every beta, on three data sets at 32 x 32, for their Fig. 2 to 6.

    python launch/prepare_data.py --dataset=mnist
    python launch/prepare_data.py --dataset=fashion_mnist
    python launch/sweep.py --sweep=configs/sweeps/w21_small.py

Without TensorFlow, or with data of your own, name other files: --sweep.data_sets.mnist.name=npz:mnist.npz, or another
folder of prepared ones, --sweep.data_sets.mnist.data_dir=DIR.

126 cells: beta in {1, 2, 4, 6, 8, 10}, as in the paper's figures, on the embedded sprites, MNIST and Fashion-MNIST, of

  beta_vae, beta_tcvae  L = 1: every KL, or the total correlation, multiplied by beta
  beta_hvae, seatbelt   L = 2 and 4: the same with all layers read by the likelihood
  beta_tcdlgm           L = 4: the likelihood reads the bottom layer alone

24 latents in the bottom layer, half as many in each further one; free bits of 0.5 nats a layer where there are several.
Ours: the sizes, dense networks of two layers of 256, batches of 512 and 3,000 steps. At beta = 1 a model with the
penalty "kl" is the one with the total correlation; it is trained twice, so that every curve has its first point.

Three attacks on each cell, on all latent layers, the top and the bottom one, 10 pairs under 20 penalties; margins of 50
images at r = 4; the measures of launch/evaluate.py that need no labels.

A cell of four layers took 173 s on 2 CPU cores (training 79 s, three attacks of 21 s, certificates 21 s, measures 10 s:
seatbelt on MNIST, beta = 6); of one layer, training took 58 s and its one attack 11 s (beta_tcvae on sprites). By that,
all takes about 5 hours there; 39 cells have been run, docs/results.md has their numbers.
"""

from ml_collections import ConfigDict

from configs import _base

_BETAS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
_DATA = ("sprites", "mnist", "fashion_mnist")
_STORED = {**_base.DATA, "image_size": 32, "fit": "pad"}
_LAYERS = {"free_bits": 0.5}


def get_config() -> ConfigDict:
    base = _base.apply(_base.sprites(), "small", ("small",))
    base.model.widths = (256, 256)
    base.train.update(steps=3_000, evaluate_every=1_000, checkpoint_every=1_000)
    attack = {"pairs": 10, "penalties": 20, "iterations": 300}
    return ConfigDict(
        {
            "base": base,
            "data_sets": {
                "sprites": {**_base.DATA, "name": "sprites", "image_size": 32},
                "mnist": {**_STORED, "name": "mnist"},
                "fashion_mnist": {**_STORED, "name": "fashion_mnist"},
            },
            "models": {
                "beta_vae": {"objective": {"penalty": "kl"}},
                "beta_tcvae": {"objective": {"penalty": "total_correlation"}},
                "beta_hvae": {"objective": {"penalty": "kl", **_LAYERS}},
                "seatbelt": {"objective": {"penalty": "total_correlation", **_LAYERS}},
                "beta_tcdlgm": {
                    "objective": {"penalty": "total_correlation", **_LAYERS},
                    "model": {"decoder_reads": "bottom"},
                },
            },
            "grids": {
                "one_layer": {
                    "data": _DATA,
                    "model": ("beta_vae", "beta_tcvae"),
                    "L": (1,),
                    "d_z": (24,),
                    "beta": _BETAS,
                    "seed": (0,),
                },
                "layers": {
                    "data": _DATA,
                    "model": ("beta_hvae", "seatbelt"),
                    "L": (2, 4),
                    "d_z": (24,),
                    "beta": _BETAS,
                    "seed": (0,),
                },
                "bottom_alone": {
                    "data": _DATA,
                    "model": ("beta_tcdlgm",),
                    "L": (4,),
                    "d_z": (24,),
                    "beta": _BETAS,
                    "seed": (0,),
                },
            },
            # On two cores, six betas in one program take 1.4 times as long as one by one; on a GPU give 0, for all.
            "together": 1,
            "attacks": {
                "all_layers": {**attack, "layers": "all"},
                "top_layer": {**attack, "layers": "top"},
                "bottom_layer": {**attack, "layers": "bottom"},
            },
            "certify": {"images": 50, "radius": 4.0, "samples": 1000, "sound": False},
            "evaluate": {
                "measures": (
                    "weight_norms",
                    "active_units",
                    "posterior_std",
                    "noise_robustness",
                    "elbo",
                    "importance_weighted",
                ),
                "images": 3000,
            },
        }
    )
