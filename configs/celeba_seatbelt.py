"""Seatbelt-VAE on CelebA, the settings of Willetts et al. 2021, App. G (their Fig. 1 and 6: L = 4, beta = 20).

    python launch/train.py --config=configs/celeba_seatbelt.py

CelebA must be prepared once (1.4 GB download; TensorFlow is needed for this alone):

    pip install -e '.[prepare]' && tfds build celeb_a --file_format=array_record

Settings from the paper: networks of Chen et al. 2018 with {64, 64, 128, 128, 512} filters, latent sizes
256, 128, 64, 32, MLPs of 1024, 512, 256 units between them, Gaussian likelihood with sigma 0.1 on [-1, 1],
Adam at 1e-3 with cosine decay, batches of 1024. Not in the paper and ours: 50 epochs (as Chen et al.), free
bits of 0.5 nats a layer, and the crop, 148 x 148 at row 40, column 15, resized to 64 x 64, which is that of
the code the paper cites for its preprocessing.

Variants:
  ""     as above, for an accelerator. Neither timed nor trained to the end yet: there is no score to expect.
  smoke  the same architecture in small, four steps on mock data, in seconds.
"""

from ml_collections import ConfigDict

_TRAINING_IMAGES = 162_770
_EPOCHS = 50
_BATCH = 1024


def get_config(variant: str = "") -> ConfigDict:
    config = ConfigDict(
        {
            "seed": 0,
            "data": {"name": "celeb_a", "image_size": 64, "crop": (40, 15, 148, 148), "data_dir": ""},
            "model": {
                "latent_sizes": (256, 128, 64, 32),
                "decoder_reads": "all",
                "network": "conv",
                "widths": (64, 64, 128, 128),
                "feature_size": 512,
                "hidden_sizes": (1024, 512, 256, 128, 64),
                "batch_norm": True,
                "likelihood": "gaussian",
                "likelihood_std": 0.1,
            },
            "objective": {"beta": 20.0, "penalty": "total_correlation", "estimator": "mws", "free_bits": 0.5},
            "optimizer": {"learning_rate": 1e-3, "schedule": "cosine", "max_gradient_norm": 0.0},
            "train": {
                "steps": _EPOCHS * (_TRAINING_IMAGES // _BATCH),
                "batch_size": _BATCH,
                "log_every": 50,
                "evaluate_every": 500,
                "checkpoint_every": 500,
                "evaluation_images": 1024,
            },
        }
    )
    if variant == "smoke":
        config.data = ConfigDict({"name": "mock", "image_size": 64, "channels": 3})
        config.model.update(latent_sizes=(8, 6, 4, 2), widths=(4, 4, 8, 8), feature_size=16, hidden_sizes=(16, 8, 8))
        config.train.update(
            steps=4, batch_size=16, log_every=2, evaluate_every=4, checkpoint_every=2, evaluation_images=16
        )
    elif variant:
        raise ValueError(f"unknown variant {variant!r}; there are smoke and the default, ''")
    return config
