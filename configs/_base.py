"""What the configurations of this folder share; each of them says in its own file what it changes.

Settings of Willetts et al. 2021, App. G: the networks of Chen et al. 2018, Gaussian likelihood with sigma 0.1 on
[-1, 1], Adam at 1e-3 with cosine decay, batches of 1024. Not in the paper and ours: the number of epochs, about 50 (as
Chen et al.). Where the images come from, and why they are cut and resized as they are: docs/data.md.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

# Sizes of the latent layers; a model of L layers takes the last L (Willetts et al. 2021, App. G).
LATENT_SIZES = (96, 48, 24, 12, 6)
CELEBA_LATENT_SIZES = (256, 128, 64, 32)

# Channels of the paper's networks at 64 x 64; smaller images take the last ones.
GREY_WIDTHS = (32, 32, 64, 64)
COLOUR_WIDTHS = (64, 64, 128, 128)

# Every field of a `data` section: what a section lacks, --config.data.FIELD could not change.
DATA = {
    "name": "mock",
    "image_size": 64,
    "channels": 0,
    "num_images": 256,
    "crop": (),
    "fit": "resize",
    "held_out": 0.05,
    "on_corrupt": "refuse",
    "data_dir": "",
}

DEPTHS = tuple(f"L{depth}" for depth in range(1, len(LATENT_SIZES) + 1))
# The models that `stored` becomes; without one of these words, it is a Seatbelt-VAE.
KINDS = ("vae", "beta_vae", "beta_tcvae")

_CELEBA_TRAINING_IMAGES = 162_770
_EPOCHS = 50
_COLOURED = ("celeb_a", "svhn_cropped", "cifar10")


def sprites() -> ConfigDict:
    """A VAE of the paper's networks on the embedded sprites, grey, 64 x 64."""
    return _willetts({"name": "sprites", "image_size": 64}, widths=GREY_WIDTHS, steps=36_000)


def celeba() -> ConfigDict:
    """A VAE of the paper's networks on CelebA, RGB, 64 x 64.

    The crop, 148 x 148 at row 40, column 15, is that of the code the paper cites for its preprocessing.
    """
    data = {"name": "celeb_a", "image_size": 64, "crop": (40, 15, 148, 148)}
    config = _willetts(data, widths=COLOUR_WIDTHS, steps=_EPOCHS * (_CELEBA_TRAINING_IMAGES // 1024))
    # The size of the hierarchy's top layer, for models of one layer.
    config.model.latent_sizes = CELEBA_LATENT_SIZES[-1:]
    config.train.update(log_every=50, evaluate_every=500, checkpoint_every=500)
    return config


def mnist() -> ConfigDict:
    """A VAE of Sootla 2018, Sec. 3.2 (networks of its Table 3.1, after Dupont 2018) on MNIST at 32 x 32.

    All three of its models have a 10-way Concrete latent at temperature 0.1 beside 10 Gaussian ones. Evaluation and
    attacks decode its arg max (Sec. 3.3 and 4). Bernoulli likelihood on [0, 1], Adam at a constant 1e-4, 100,000
    batches of 64. Digits are resized from 28 x 28, not padded,
    as in Dupont's code; the text does not say.
    """
    data = {"name": "mnist", "image_size": 32, "fit": "resize"}
    config = _willetts(data, widths=(32, 32, 64), steps=100_000)
    config.model.update(
        latent_sizes=(10,),
        discrete_sizes=(10,),
        hard_samples=True,
        feature_size=128,
        batch_norm=False,
        likelihood="bernoulli",
    )
    config.objective.penalty = "kl"
    config.optimizer.update(learning_rate=1e-4, schedule="constant")
    config.train.update(batch_size=64, log_every=500, evaluate_every=5_000, checkpoint_every=5_000)
    return config


def stored(
    data: Mapping[str, object],
    *,
    training_images: int,
    widths: tuple[int, ...] = GREY_WIDTHS,
    latent_sizes: tuple[int, ...] = LATENT_SIZES,
) -> ConfigDict:
    """A Seatbelt-VAE of the paper's networks on stored images, with four layers, the last of `latent_sizes`.

    beta = 10, the largest of the paper's range, free bits of 0.5 nats a layer, and 50 epochs.
    """
    steps_per_epoch = training_images // 1024
    config = _willetts(data, widths=widths, steps=_EPOCHS * steps_per_epoch)
    config.model.latent_sizes = latent_sizes[-4:]
    config.objective.update(beta=10.0, penalty="total_correlation", free_bits=0.5)
    often = 10 * steps_per_epoch
    config.train.update(log_every=50, evaluate_every=often, checkpoint_every=often)
    return config


def apply(
    config: ConfigDict,
    variant: str,
    known: tuple[str, ...] = ("demo", "smoke"),
    latent_sizes: tuple[int, ...] = LATENT_SIZES,
) -> ConfigDict:
    """Turns a configuration into one of its variants, words of `known` with commas between them.

    vae, beta_vae, beta_tcvae: that model instead, with one layer of 64 latents, one of the paper's sizes.
    demo: dense networks on large sprites at 32 x 32, seconds on 2 CPU cores. small: dense networks at 32 x 32, minutes
    there. smoke: four steps of a tiny model on mock data.
    L1 .. L5: as many latent layers, the last ones of `latent_sizes`.

    Raises:
      ValueError: for a variant that does not exist.
    """
    words = [word for word in variant.split(",") if word]
    for word in words:
        if word not in known:
            raise ValueError(f"unknown variant {word!r}; there are {', '.join(known)} and the default, ''")
    if kinds := [word for word in words if word in KINDS]:
        if len(kinds) > 1:
            raise ValueError(f"unknown variant {variant!r}; there are {', '.join(known)}, and only one model at once")
        config.model.latent_sizes = (64,)
        config.objective.update(
            beta=1.0 if kinds[0] == "vae" else config.objective.beta,
            penalty="total_correlation" if kinds[0] == "beta_tcvae" else "kl",
            free_bits=0.0,
        )
    if "demo" in words:
        _scale_to_demo(config)
    if "small" in words:
        _scale_to_small(config)
    if depth := [int(word.removeprefix("L")) for word in words if word in DEPTHS]:
        config.model.latent_sizes = latent_sizes[-depth[-1] :]
    if "smoke" in words:
        _scale_to_smoke(config)
    return config


def _scale_to_demo(config: ConfigDict) -> None:
    # Chosen for sharp reconstructions in a short time, alike for every model.
    config.data.update(name="large_sprites", image_size=32)
    _make_dense(config, widths=(256, 256), hidden_sizes=(128, 64, 32, 32))
    config.model.likelihood = "bernoulli"
    config.optimizer.learning_rate = 5e-3
    config.train.update(
        steps=800, batch_size=128, log_every=40, evaluate_every=400, checkpoint_every=400, evaluation_images=1024
    )


def _scale_to_small(config: ConfigDict) -> None:
    config.data.image_size = 32
    _make_dense(config, widths=(512, 512), hidden_sizes=(256, 128, 64, 32))
    config.train.update(
        steps=4_000, batch_size=512, log_every=25, evaluate_every=1_000, checkpoint_every=1_000, evaluation_images=1024
    )


def _make_dense(config: ConfigDict, *, widths: tuple[int, ...], hidden_sizes: tuple[int, ...]) -> None:
    latent_sizes = config.model.latent_sizes
    latent_sizes = LATENT_SIZES[-3:] if len(latent_sizes) > 1 else (min(24, latent_sizes[0]),)
    config.model.update(
        latent_sizes=latent_sizes, network="mlp", widths=widths, hidden_sizes=hidden_sizes, batch_norm=True
    )


def _scale_to_smoke(config: ConfigDict) -> None:
    # Channels of 0 are those of a folder's pictures, should one be given in place of the mock images, which are grey.
    channels = 3 if config.data.channels == 3 or config.data.name in _COLOURED else 0
    config.data = ConfigDict({**DATA, "image_size": 32, "channels": channels})
    depth = len(config.model.latent_sizes)
    config.model.update(
        latent_sizes=tuple(range(depth + 1, 1, -1)), widths=(8, 8, 8), feature_size=16, hidden_sizes=(16, 8, 8, 8)
    )
    if "discriminator" in config:
        config.discriminator.update(width=16, layers=2)
    config.train.update(steps=4, batch_size=16, log_every=2, evaluate_every=4, checkpoint_every=2, evaluation_images=16)


def _willetts(data: Mapping[str, object], *, widths: tuple[int, ...], steps: int) -> ConfigDict:
    return ConfigDict(
        {
            "seed": 0,
            "data": {**DATA, **data},
            "model": {
                "latent_sizes": (64,),
                "decoder_reads": "all",
                "network": "conv",
                "widths": widths,
                "feature_size": 512,
                "hidden_sizes": (1024, 512, 256, 128, 64),
                "batch_norm": True,
                "likelihood": "gaussian",
                "likelihood_std": 0.1,
                "discrete_sizes": (),
                "temperature": 0.1,
                "hard_samples": False,
                "posterior_std": 0.0,
                "posterior_std_offset": 0.0,
                "compute_dtype": "float32",
            },
            "objective": {
                "beta": 1.0,
                "beta_start": 0.0,
                "beta_annealing_steps": 0,
                "penalty": "total_correlation",
                "estimator": "mws",
                "free_bits": 0.0,
                "capacity": (),
                "capacity_annealing_steps": 0,
            },
            "optimizer": {
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "max_gradient_norm": 0.0,
                "weight_decay": 0.0,
            },
            "train": {
                "steps": steps,
                "batch_size": 1024,
                "log_every": 100,
                "evaluate_every": 2_000,
                "checkpoint_every": 2_000,
                "evaluation_images": 1024,
                "resident_mib": 2048,
                "shard_parameters_mib": 0.0,
                "steps_per_dispatch": 0,
                "max_skipped_in_a_row": 10,
            },
        }
    )
