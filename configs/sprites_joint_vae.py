"""JointVAE (Dupont 2018) on the embedded sprites: a 3-way Concrete latent, for the shape, beside 10 Gaussian ones.

    python launch/train.py --config=configs/sprites_joint_vae.py --workdir=runs/sprites_joint_vae

gamma |KL_c - C_c| + gamma |KL_z - C_z| with gamma = 30 (Sootla 2018, Sec. 3.2). Ours: in the first two thirds of the
training C grows linearly, to ln 3 nats, all it can hold, for the Concrete latent and to 25 for the Gaussian ones
(Burgess et al. 2017 on dSprites); temperature 0.67 (Dupont 2018), Bernoulli likelihood.

Variants:
  ""     the paper's networks at 64x64, for an accelerator; not trained to the end yet: no score to expect.
  demo   dense networks on large sprites at 32x32. 29 s of processor time on 2 CPU cores; validation ELBO -68 nats,
         reconstruction error 3.3; KL_c 1.05 and KL_z 25.0 nats, where they were sent.
  smoke  four steps on mock data, in seconds.
"""

import math

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.sprites()
    config.model.update(latent_sizes=(10,), discrete_sizes=(3,), temperature=0.67, likelihood="bernoulli")
    config.objective.update(beta=30.0, penalty="capacity", capacity=(math.log(3), 25.0))
    config = _base.apply(config, variant)
    config.objective.capacity_annealing_steps = config.train.steps * 2 // 3
    return config
