"""The VAE of Sootla 2018, Sec. 3.2, on MNIST: its JointVAE's networks, Concrete latent included, under the plain ELBO.

    python launch/train.py --config=configs/mnist_vae.py

MNIST must be prepared once (11 MB; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=mnist

Networks, likelihood and optimiser are in _base.py.

Variants:
  ""     as above. Not trained to the end yet: no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    return _base.apply(_base.mnist(), variant, ("smoke",))
