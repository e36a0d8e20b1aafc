"""Seatbelt-VAE and single-layer VAEs on MNIST at 32 x 32.

    python launch/train.py --config=configs/mnist.py --workdir=runs/mnist_seatbelt
    python launch/train.py --config=configs/mnist.py:beta_tcvae --workdir=runs/mnist_beta_tcvae
    python launch/train.py --config=configs/mnist.py:vae,small --workdir=runs/mnist_small_vae

MNIST must be prepared once (11 MB; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=mnist

Willetts et al. have no MNIST: networks, likelihood, optimiser, batches and latent sizes are those of their grey data,
at 32 x 32. beta_vae is the model of Camuto et al. 2021, Fig. 8 and 9, where beta is 0.1, 1 and 10
(--config.objective.beta=0.1), vae that of their Fig. 4; they name no networks. See mnist_vae_sigma_offset.py for their
tau, mnist_joint_vae.py and mnist_vae.py for the models of Sootla 2018.

Images are padded from 28 x 28 with black, not resized: the pixels stay the original ones, so that distances, and radii
of attacks and certificates, are those of the original images, comparable with work at 28 x 28.

Variants, words with commas between them:
  ""         Seatbelt-VAE of four layers, beta = 10, for an accelerator; not trained to the end yet: no score to expect.
  vae        VAE with 64 latents, the baseline.
  beta_vae   beta-VAE of the same size, beta = 10.
  beta_tcvae beta-TCVAE of the same size, beta = 10.
  small      any of the above with dense networks, and three layers of 24, 12 and 6 latents, or one of 24. 3 to 4
             minutes on 2 CPU cores; validation ELBO -161 nats, reconstruction error 5.2; vae,small: -465 nats, 5.8.
  smoke      four steps on mock data, in seconds.
  L1..L5     as many latent layers, the last ones of the paper's list 96, 48, 24, 12, 6.
"""

from ml_collections import ConfigDict

from configs import _base

# 60,000 less the 5 % held out; the 10,000 of the test split stay apart.
_TRAINING_IMAGES = 57_000


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "mnist", "image_size": 32, "fit": "pad"}
    config = _base.stored(data, training_images=_TRAINING_IMAGES, widths=_base.GREY_WIDTHS[1:])
    return _base.apply(config, variant, (*_base.KINDS, "small", "smoke", *_base.DEPTHS))
