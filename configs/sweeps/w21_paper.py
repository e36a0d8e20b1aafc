"""The grid of Willetts et al. 2021 and 2019 at the papers' sizes on 3D Chairs, 3D Faces and dSprites, for accelerators.

    python launch/prepare_data.py --dataset=dsprites
    python launch/sweep.py --sweep=configs/sweeps/w21_paper.py
    python launch/figures.py --sweep=runs/sweeps/w21_paper

with --sweep.data_sets.chairs.name=chairs:DIR/rendered_chairs and --sweep.data_sets.faces.name=npz:DIR/faces.npz
(docs/data.md); fewer data sets by --sweep.grids.sizes.data="('chairs',)" and the same for each other grid.

From the papers: the networks of App. G at 64 x 64, batches of 1,024, beta in {1, 2, 4, 6, 8, 10}; beta-TCVAEs of 4 to
128 latents (Fig. 3), Seatbelt-VAEs of 2 to 5 layers with 32, 64 and 128 in the bottom one (Fig. 6); 20 pairs (Fig. 3)
under 50 penalties; latent attacks by KL on all layers, the top and the bottom one, by W2, and on the output. Ours: half
as many latents in each further layer, free bits of 0.5 nats a layer, and 4,850 steps for all, about 60 epochs of
Chairs, 41 of Faces and 7 of dSprites.

432 cells; not run yet, so there are no times and no scores to expect. --shard splits them over machines.
"""

from ml_collections import ConfigDict

from configs import _base
from configs.sweeps import w21_small

_BETAS = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
_DATA = ("chairs", "faces", "dsprites")
_IMAGES = 100_000


def get_config() -> ConfigDict:
    data = {
        "chairs": {**_base.DATA, "name": "chairs:rendered_chairs", "crop": (100, 100, 400, 400)},
        "faces": {**_base.DATA, "name": "npz:faces.npz"},
        "dsprites": {**_base.DATA, "name": "dsprites", "held_out": 0.01},
    }
    base = _base.stored(data["chairs"], training_images=_IMAGES)
    # Models of several layers have theirs.
    base.objective.free_bits = 0.0
    # dSprites as bytes; to decode them anew in every step would take longer than the step.
    base.train.resident_mib = 3072
    axes = {"data": _DATA, "beta": _BETAS, "seed": (0,)}
    attack = {"pairs": 20, "penalties": 50}
    return ConfigDict(
        {
            "base": base,
            "data_sets": data,
            "models": w21_small.get_config().models,
            "grids": {
                "one_layer": {**axes, "model": ("beta_vae",), "L": (1,), "d_z": (64,)},
                "sizes": {**axes, "model": ("beta_tcvae",), "L": (1,), "d_z": (4, 8, 16, 32, 64, 128)},
                "layers": {**axes, "model": ("seatbelt",), "L": (2, 3, 4, 5), "d_z": (32, 64, 128)},
                "bottom_alone": {**axes, "model": ("beta_tcdlgm",), "L": (2, 3, 4, 5), "d_z": (64,)},
                "unpenalised": {**axes, "model": ("beta_hvae",), "L": (4,), "d_z": (64,)},
            },
            "together": 0,
            "attacks": {
                "all_layers": {**attack, "layers": "all"},
                "top_layer": {**attack, "layers": "top"},
                "bottom_layer": {**attack, "layers": "bottom"},
                "w2": {**attack, "divergence": "w2"},
                "output_elbo": {**attack, "attack": "output_elbo"},
                "output_l2": {**attack, "attack": "output_l2"},
            },
            "evaluate": {
                "measures": ("weight_norms", "active_units", "posterior_std", "noise_robustness", "elbo", "mig"),
                "images": 3000,
            },
        }
    )
