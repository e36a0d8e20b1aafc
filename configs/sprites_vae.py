"""Plain VAE on the embedded sprites (dSprites): the baseline of Willetts et al. 2021, beta = 1, L = 1.

    python launch/train.py --config=configs/sprites_vae.py --workdir=runs/sprites_vae
    python launch/train.py --config=configs/sprites_vae.py:demo --workdir=runs/demo/vae

Settings as in sprites_seatbelt.py, with 64 latents (one of the sizes in the paper's Fig. 4) and no free bits.

Variants:
  ""     the paper's networks at 64x64. 2 CPU cores take 6.9 s a step, 69 hours in all: meant for an accelerator,
         where it has not been timed yet, and not trained to the end yet, so there is no score to expect.
  demo   dense networks at 32x32, as `make demo` trains them. 70 to 120 s on 2 CPU cores; validation
         ELBO -3 nats, reconstruction error 5.1.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    config = ConfigDict(
        {
            "seed": 0,
            "data": {"name": "sprites", "image_size": 64},
            "model": {
                "latent_sizes": (64,),
                "decoder_reads": "all",
                "network": "conv",
                "widths": (32, 32, 64, 64),
                "feature_size": 512,
                "hidden_sizes": (),
                "batch_norm": True,
                "likelihood": "gaussian",
                "likelihood_std": 0.1,
            },
            "objective": {"beta": 1.0, "penalty": "total_correlation", "estimator": "mws", "free_bits": 0.0},
            "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "max_gradient_norm": 0.0},
            "train": {
                "steps": 36_000,
                "batch_size": 1024,
                "log_every": 100,
                "evaluate_every": 2_000,
                "checkpoint_every": 2_000,
                "evaluation_images": 1024,
            },
        }
    )
    if variant == "demo":
        config.data.image_size = 32
        config.model.update(latent_sizes=(24,), network="mlp", widths=(512, 512))
        config.train.update(steps=2000, batch_size=512, log_every=25, evaluate_every=500, checkpoint_every=500)
    elif variant == "smoke":
        config.data.update(name="mock", image_size=32)
        config.model.update(latent_sizes=(3,), widths=(8, 8, 8), feature_size=16)
        config.train.update(
            steps=4, batch_size=16, log_every=2, evaluate_every=4, checkpoint_every=2, evaluation_images=16
        )
    elif variant:
        raise ValueError(f"unknown variant {variant!r}; there are demo, smoke and the default, ''")
    return config
