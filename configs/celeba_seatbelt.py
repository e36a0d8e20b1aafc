"""Seatbelt-VAE on CelebA, the settings of Willetts et al. 2021, App. G (their Fig. 6: L = 4, beta = 20).

    python launch/train.py --config=configs/celeba_seatbelt.py

CelebA must be prepared once (1.4 GB download; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=celeb_a

From the paper: latent sizes 256, 128, 64, 32, networks, likelihood, optimiser and batches, see _base.py. Ours: 50
epochs and free bits of 0.5 nats a layer.

Variants:
  ""     as above, for an accelerator. Neither timed nor trained to the end yet: there is no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.celeba()
    config.model.latent_sizes = _base.CELEBA_LATENT_SIZES
    config.objective.update(beta=20.0, penalty="total_correlation", free_bits=0.5)
    return _base.apply(config, variant, ("smoke",))
