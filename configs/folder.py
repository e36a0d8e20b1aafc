"""Seatbelt-VAE and single-layer VAEs on a folder of pictures of your own, in colour, 64 x 64.

    python launch/train.py --config=configs/folder.py --config.data.name=folder:PATH --workdir=runs/pictures
    python launch/train.py --config=configs/folder.py:beta_tcvae,small --config.data.name=folder:PATH

PATH holds PNG, JPEG, WebP, BMP, TIFF and GIF files of any size, in itself or in one subfolder for each class, with or
without train/, validation/ and test/ above them (docs/data.md). All are turned upright and become RGB: grey ones are
repeated, what is transparent shows white. All are resized to a square, whatever their sides' ratio; damaged ones are
left out, with a warning that counts them. To change that:

    --config.data.channels=1            grey; 0 takes the pictures' own, which must be all grey or all in colour
    --config.data.crop='(0,0,200,200)'  a part of each, (top, left, height, width) in pixels, cut out before resizing
    --config.data.image_size=32         a multiple of 16
    --config.data.held_out=0.2          the share kept for validation where there is no folder for it; 0.05 as it is
    --config.data.on_corrupt=refuse     a damaged picture ends the training

The batch size is chosen: the largest power of two of which an epoch has at least eight, at most 128; 32 of 500
pictures. --config.train.batch_size=N gives another. Total correlation is estimated over a batch, so a small folder
wants a small beta or the variant vae.

Networks, likelihood and optimiser are those of Willetts et al. 2021, App. G, for RGB images, and so are CelebA's latent
sizes. Ours: beta = 4, free bits of 0.5 nats a layer, and 5,000 steps, about 340 epochs of 500 pictures.

Variants, words with commas between them:
  ""         Seatbelt-VAE of four layers, beta = 4, for an accelerator; not trained to the end yet: no score to expect.
  vae        VAE with 64 latents, the baseline.
  beta_vae   beta-VAE of the same size, beta = 4.
  beta_tcvae beta-TCVAE of the same size, beta = 4.
  small      any of the above with dense networks at 32 x 32, 2,000 steps. On 475 pictures, 200 of them took 36 s of CPU
             time, start and compilation included; validation ELBO 486 nats, reconstruction error 8.4.
  smoke      four steps on mock data, in seconds; with --config.data.name=folder:PATH, on your pictures.
  L1..L4     as many latent layers, the last ones of 256, 128, 64, 32.
"""

from ml_collections import ConfigDict

from configs import _base

_STEPS = 5_000


def get_config(variant: str = "") -> ConfigDict:
    data = {"name": "folder:pictures", "channels": 3, "on_corrupt": "skip"}
    config = _base.stored(
        data, training_images=1024, widths=_base.COLOUR_WIDTHS, latent_sizes=_base.CELEBA_LATENT_SIZES
    )
    config.objective.beta = 4.0
    # A batch size of 0 is chosen by the number of pictures.
    config.train.update(steps=_STEPS, batch_size=0, evaluate_every=500, checkpoint_every=500)
    known = (*_base.KINDS, "small", "smoke", *_base.DEPTHS[:4])
    config = _base.apply(config, variant, known, _base.CELEBA_LATENT_SIZES)
    if "small" in variant.split(","):
        config.train.update(steps=2_000, evaluate_every=500, checkpoint_every=500)
    if "smoke" not in variant.split(","):
        config.train.batch_size = 0
    return config
