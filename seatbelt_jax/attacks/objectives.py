"""The attacks on reconstructions: the target's ELBO, its distance, and maximum damage."""

import dataclasses
from typing import Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from seatbelt_jax import gaussian, posterior
from seatbelt_jax.attacks.objective import OBJECTIVES, Image, Images, Objective, draws_of, encode
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.norm import l2_norm
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.sections import check_choice
from seatbelt_jax.vae import VAE, Latents

Through = Literal["mean", "std", "both"]


class DamageGoal(NamedTuple):
    """What `maximum_damage` keeps of a source x.

    Attributes:
      image: x.
      bottom: q(z^1|x).
      reconstruction: g(mu(x)).
    """

    image: Image
    bottom: Posterior
    reconstruction: Image


@OBJECTIVES.register("output_elbo")
def output_elbo(vae: VAE, *, noise: Latents | None = None) -> Objective:
    """The output attack -E_{q(z|x')} log p(x^t|z) + KL(q(z|x') || p(z)): the target's negative ELBO under x''s codes.

    Willetts et al. 2021, Eq. 2, prints both terms with the opposite sign, which would make the target unlikely.

    For a hierarchy, the divergence is between the layers' joint distributions. Given draws, the terms of the Gaussian
    layers i < L are -H(q(z^i|..)) - log p(z^i|z^{i+1}), as in `seatbelt_jax.elbo`, because z^{i+1} depends on z^i;
    the others are closed forms. Along the means there is no noise that a wide q would pay for in that estimate, so
    there each layer's term is KL(q(z^i|..) || p(z^i|z^{i+1})) between the conditionals.

    Args:
      vae: the attacked model.
      noise: standard normals [draw, latent] per layer, for the expectation. None follows the means.

    Raises:
      ValueError: for noise that is not of the model's layers.
    """
    draws, suffix = draws_of(vae, noise)
    distance = Partial(_NegativeElbo(noise is not None), vae, draws)
    return Objective(_TARGETS, distance, f"output_elbo{suffix}", "nats")


@dataclasses.dataclass(frozen=True)
class _NegativeElbo:
    """The target's negative ELBO under the attacked image's codes."""

    drawn: bool

    def __call__(self, vae: VAE, draws: Latents, image: Image, target: Image) -> Float[Array, ""]:
        posteriors, latents = encode(vae, image, draws)
        depth = len(latents)
        terms = [
            self._layer_term(q, p, z, layer == depth - 1)
            for layer, (q, p, z) in enumerate(zip(posteriors, vae.prior(latents), latents, strict=True))
        ]
        log_likelihood = vae.likelihood.log_prob(vae.decode(latents), _repeat(target, latents))
        return jnp.mean(sum(terms, -log_likelihood))

    def _layer_term(self, q: Posterior, p: Posterior, z: Array, top: bool) -> Float[Array, " draw"]:
        if not self.drawn or top or not (isinstance(q, DiagonalGaussian) and isinstance(p, DiagonalGaussian)):
            return posterior.kl_divergence(q, p)
        return -gaussian.entropy(q) - gaussian.log_prob(p, z)


@OBJECTIVES.register("output_l2")
def output_l2(vae: VAE, *, noise: Latents | None = None) -> Objective:
    """The output attack E ||g(z(x')) - x^t||^2, g the mean image (Gondim-Ribeiro et al. 2018).

    Args:
      vae: the attacked model.
      noise: standard normals [draw, latent] per layer, for the expectation. None follows the means.

    Raises:
      ValueError: for noise that is not of the model's layers.
    """
    draws, suffix = draws_of(vae, noise)
    return Objective(_TARGETS, Partial(_squared_error, vae, draws), f"output_l2{suffix}", "squared pixel units")


def _squared_error(vae: VAE, draws: Latents, image: Image, target: Image) -> Float[Array, ""]:
    images = vae.likelihood.mean(vae.decode(encode(vae, image, draws).latents))
    return jnp.sum(jnp.square(images - target)) / images.shape[0]


def _targets(sources: Images, targets: Images) -> Images:
    return targets


_TARGETS = Partial(_targets)


@OBJECTIVES.register("maximum_damage")
def maximum_damage(vae: VAE, *, through: Through = "both", noise: Latents | None = None) -> Objective:
    """Maximum damage: -E ||g(z') - g(mu(x))||_2 with z' = mu(x') + eta sigma(x') (Camuto et al. 2021, Eq. 5).

    g is the mean image and mu(x) the source's path of means. In a hierarchy, every layer's mean and standard deviation
    are computed at the latents z' of the layers below, also those of the source.

    Args:
      vae: the attacked model.
      through: what depends on x' (Camuto et al. 2021, Fig. 4): "both", as in Eq. 5; "mean", while every sigma is the
        source's; or "std", while every mu is.
      noise: eta, standard normals [draw, latent] per layer, over which the mean is taken. None is eta = 0.

    Raises:
      ValueError: for an unknown `through`, "std" without noise, or noise that is not of the model's layers.
      TypeError: for "mean" or "std" where a layer is Concrete: it has neither.
    """
    check_choice("through", through, get_args(Through))
    if through == "std" and noise is None:
        raise ValueError("through='std' acts by way of noise alone: pass noise, for example vae.sample_noise(key, 16)")
    if through != "both":
        _check_gaussian(vae, through)
    draws, suffix = draws_of(vae, noise)
    # Without noise no sigma plays a part.
    distance = _damage if through == "both" or noise is None else _DamageThrough(through)
    return Objective(
        prepare=Partial(_damage_goals, vae),
        distance=Partial(distance, vae, draws),
        name=f"maximum_damage_{through}{suffix}",
        unit="pixel units",
        targeted=False,
        random_start=True,
    )


def _damage_goals(vae: VAE, sources: Images, targets: Images) -> DamageGoal:
    posteriors, latents = vae.encode(sources, vae.mean_path(len(sources)))
    return DamageGoal(jnp.asarray(sources), posteriors[0], vae.likelihood.mean(vae.decode(latents)))


def _damage(vae: VAE, draws: Latents, image: Image, goal: DamageGoal) -> Float[Array, ""]:
    return _damage_of(vae, encode(vae, image, draws).latents, goal)


def _damage_of(vae: VAE, latents: Latents, goal: DamageGoal) -> Float[Array, ""]:
    images = vae.likelihood.mean(vae.decode(latents))
    return -jnp.mean(jax.vmap(l2_norm)(images - goal.reconstruction))


@dataclasses.dataclass(frozen=True)
class _DamageThrough:
    """The damage where the means or the standard deviations see the attacked image, and the others the source."""

    through: Literal["mean", "std"]

    def __call__(self, vae: VAE, draws: Latents, image: Image, goal: DamageGoal) -> Float[Array, ""]:
        return _damage_of(vae, jax.vmap(lambda eta: self._mixed_path(vae, image, goal, eta))(draws), goal)

    def _mixed_path(
        self, vae: VAE, image: Image, goal: DamageGoal, eta: tuple[Float[Array, " _latent"], ...]
    ) -> tuple[Float[Array, " _latent"], ...]:
        """The latents of one draw, means and standard deviations of two images."""
        latents: Latents = ()
        for layer in range(len(vae.latent_sizes)):
            attacked = cast(DiagonalGaussian, vae.posterior(image[None], latents))
            kept = cast(DiagonalGaussian, vae.posterior(goal.image[None], latents) if layer else goal.bottom)
            of_mean, of_std = (attacked, kept) if self.through == "mean" else (kept, attacked)
            latents = (*latents, of_mean.mean + of_std.std * eta[layer])
        return tuple(latent[0] for latent in latents)


def _repeat(image: Image, latents: Latents) -> Float[Array, "draw height width channels"]:
    return jnp.broadcast_to(image, (latents[0].shape[0], *image.shape))


def _check_gaussian(vae: VAE, through: str) -> None:
    image = jax.ShapeDtypeStruct((1, *vae.image_shape), jnp.float32)
    for number, q in enumerate(jax.eval_shape(vae.encode, image, vae.mean_path(1)).posteriors, start=1):
        if not isinstance(q, DiagonalGaussian):
            raise TypeError(
                f"layer {number} is {type(q).__name__} and has no mean and standard deviation to attack one at a "
                f"time: pass through='both' in place of {through!r}"
            )
