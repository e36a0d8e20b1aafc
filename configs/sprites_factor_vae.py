"""FactorVAE (Kim and Mnih 2018) on the embedded sprites: total correlation by a discriminator, gamma = 35.

    python launch/train.py --config=configs/sprites_factor_vae.py --workdir=runs/sprites_factor_vae

From Kim and Mnih, App. A: 10 latents, gamma = 35 (our beta - 1), Bernoulli likelihood, Adam at a constant 1e-4 for
both, batches of 64, 300,000 steps, a discriminator of six layers of 1,000 units. Their networks too:
those of sprites_vae.py without BatchNorm, with 128 units where it has 512.

Variants:
  ""     as above at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   dense networks with BatchNorm on large sprites at 32x32, Adam at 5e-3, gamma = 7 and a discriminator of four
         layers of 256 units. 35 s of processor time on 2 CPU cores; validation ELBO -55 nats, reconstruction error 2.8.
  smoke  four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.update(latent_sizes=(10,), likelihood="bernoulli", feature_size=128, batch_norm=False)
    config.objective.update(beta=36.0, penalty="total_correlation", estimator="density_ratio")
    config.optimizer.update(learning_rate=1e-4, schedule="constant")
    config.train.update(steps=300_000, batch_size=64, log_every=500, evaluate_every=10_000, checkpoint_every=10_000)
    config.discriminator = ConfigDict({"width": 1000, "layers": 6, "learning_rate": 1e-4})
    if "demo" in variant.split(","):
        config.objective.beta = 8.0
        config.optimizer.schedule = "cosine"
        config.discriminator.update(width=256, layers=4, learning_rate=1e-3)
    return _base.apply(config, variant)
