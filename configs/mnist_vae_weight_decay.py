"""The VAE with weight decay 0.5 of Sootla 2018, Sec. 3.2, on MNIST; all else as in mnist_vae.py.

    python launch/train.py --config=configs/mnist_vae_weight_decay.py

MNIST must be prepared once (11 MB; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=mnist

The decay is the derivative of an L2 penalty, added to the gradient that Adam sees.

Variants:
  ""     as above. Not trained to the end yet: no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.mnist()
    config.optimizer.weight_decay = 0.5
    return _base.apply(config, variant, ("smoke",))
