"""VAE with standard deviations offset by tau = 0.1 on MNIST (Camuto et al. 2021, Sec. 4.2 and Fig. 7: 0, 0.1, 0.5, 1).

    python launch/train.py --config=configs/mnist_vae_sigma_offset.py

MNIST must be prepared once (11 MB; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && python launch/prepare_data.py --dataset=mnist

Camuto et al. name neither network nor optimiser: all but tau is ours, namely the networks of Sootla 2018 (_base.py)
without their Concrete latent, and a Gaussian likelihood with sigma 0.1 on [-1, 1]; and digits padded to 32 x 32, not
resized, so that distances in pixel space are those of the original images. Other tau:
--config.model.posterior_std_offset=0.5. beta = 0.1, 1 and 10 (their Fig. 8 and 9): mnist.py:beta_vae.

Variants:
  ""     as above. Not trained to the end yet: no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

from configs import _base


def get_config(variant: str = "") -> ConfigDict:
    config = _base.mnist()
    config.data.fit = "pad"
    config.model.update(discrete_sizes=(), likelihood="gaussian", posterior_std_offset=0.1)
    return _base.apply(config, variant, ("smoke",))
