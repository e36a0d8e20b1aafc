"""Seatbelt-VAE on the embedded sprites (dSprites), after Willetts et al. 2021, App. G.

    python launch/train.py --config=configs/sprites_seatbelt.py --workdir=runs/sprites_seatbelt
    python launch/train.py --config=configs/sprites_seatbelt.py:demo --workdir=runs/demo/seatbelt

From the paper: networks and latent sizes (the last four of its list), Gaussian likelihood with sigma 0.1 on
[-1, 1], Adam at 1e-3 with cosine decay, batches of 1024. Ours: beta = 8 (the paper goes from 1 to 10), 50 epochs, and
free bits of 0.5 nats a layer, where the paper says that it used some.

Variants:
  ""     the paper's networks at 64x64. 2 CPU cores take 6.8 s a step, 68 hours in all: meant for an accelerator,
         where it has not been timed yet, and not trained to the end yet, so there is no score to expect.
  demo   three layers of dense networks at 32x32, as `make demo` trains them. 70 to 120 s on 2
         CPU cores; validation ELBO 19 nats, reconstruction error 5.0.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    config = ConfigDict(
        {
            "seed": 0,
            "data": {"name": "sprites", "image_size": 64},
            "model": {
                "latent_sizes": (48, 24, 12, 6),
                "decoder_reads": "all",
                "network": "conv",
                "widths": (32, 32, 64, 64),
                "feature_size": 512,
                "hidden_sizes": (1024, 512, 256, 128, 64),
                "batch_norm": True,
                "likelihood": "gaussian",
                "likelihood_std": 0.1,
            },
            "objective": {
                "beta": 8.0,
                "penalty": "total_correlation",
                "estimator": "mws",
                "free_bits": 0.5,
            },
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
        config.model.update(latent_sizes=(24, 12, 6), network="mlp", widths=(512, 512), hidden_sizes=(256, 128))
        config.objective.beta = 10.0
        config.train.update(steps=2000, batch_size=512, log_every=25, evaluate_every=500, checkpoint_every=500)
    elif variant == "smoke":
        config.data.update(name="mock", image_size=32)
        config.model.update(latent_sizes=(4, 3), widths=(8, 8, 8), feature_size=16, hidden_sizes=(16,))
        config.train.update(
            steps=4, batch_size=16, log_every=2, evaluate_every=4, checkpoint_every=2, evaluation_images=16
        )
    elif variant:
        raise ValueError(f"unknown variant {variant!r}; there are demo, smoke and the default, ''")
    return config
