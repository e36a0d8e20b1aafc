"""JointVAE on MNIST, the settings of Sootla 2018, Sec. 3.2: gamma = 30, capacities from 0 to 5 nats.

    python launch/train.py --config=configs/mnist_joint_vae.py

MNIST must be prepared once (11 MB; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=mnist

Networks, likelihood and optimiser are in _base.py. The 10-way Concrete latent cannot hold 5 nats: ln 10 = 2.303 stands
in for its capacity, as training says when it starts.

Variants:
  ""     as above. Not trained to the end yet: no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.mnist()
    config.objective.update(beta=30.0, penalty="capacity", capacity=(5.0, 5.0))
    config = _base.apply(config, variant, ("smoke",))
    config.objective.capacity_annealing_steps = config.train.steps
    return config
