"""The distances that an attacker minimises, independent of the solver and of the price of distortion.

Every factory returns an `Objective` of one image at a time, to be vmapped over attacks. K draws of noise cost one pass
through the image's features: they are vmapped while the image is not, so what depends on it alone is computed once.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree

from seatbelt_jax import gaussian, posterior
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.norm import l2_norm
from seatbelt_jax.posterior import Posterior
from seatbelt_jax.sections import check_choice
from seatbelt_jax.vae import VAE, Encoding, Latents

Image = Float[Array, "height width channels"]
Images = Float[Array, "pair height width channels"]
Divergence = Literal["kl", "symmetric_kl", "w2", "l2", "joint_l2"]
Layers = Literal["all", "top", "bottom"] | tuple[int, ...]
Through = Literal["mean", "std", "both"]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("prepare", "distance"),
    meta_fields=("name", "unit", "targeted", "random_start"),
)
@dataclasses.dataclass(frozen=True)
class Objective:
    """What the attacker minimises over the adversarial image x', and what it needs of each pair beforehand.

    A pytree where `prepare` and `distance` are, such as a `jax.tree_util.Partial` of a VAE. `sweep` traces plain
    functions when it begins; what they close over is read then.

    Attributes:
      prepare: (sources, targets) -> goals, a pytree of arrays with leading axis [pair].
      distance: (x', one pair's goal) -> the scalar to minimise.
      name: for file names, such as "latent_kl_all".
      unit: of the distance.
      targeted: whether the objective uses targets.
      random_start: whether to start away from the source, because the gradient is 0 there.
    """

    prepare: Callable[[Images, Images], PyTree]
    distance: Callable[[Image, PyTree], Float[Array, ""]]
    name: str
    unit: str
    targeted: bool = True
    random_start: bool = False


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


def latent(
    vae: VAE, *, divergence: Divergence = "kl", layers: Layers = "all", noise: Latents | None = None
) -> Objective:
    """The latent attack sum_{i in layers} r(q(z^i|x'), q(z^i|x^t)) (Willetts et al. 2021, Eq. 10).

    The paper's q(z^i|x), i > 1, is a marginal over the layers below, which has no closed form. Here r compares the
    conditionals q(z^i|z^{i-1}, x') and q(z^i|z^{i-1}, x^t) along paths. With shared draws the mean KL bounds the KL of
    the marginals from above, by joint convexity, up to the sampling of the draws. Along the means it is no bound,
    neither from above nor from below.

    Args:
      vae: the attacked model.
      divergence: r: "kl", KL(q(.|x') || q(.|x^t)); "symmetric_kl", the sum of both directions; "w2", the
        2-Wasserstein distance; "l2", the L2 distance of means and of Concrete layers' logits (Kos et al. 2018).
        "joint_l2" is not a sum over layers but one norm of all means and logits together (Sootla 2018, Eq. 3.1).
      layers: the layers to compare: a name, or numbers from 1, the layer nearest the data.
      noise: standard normals [draw, latent] per layer, on which layers i > 1 are conditioned. x' and x^t share each
        draw, and the distance is the mean over draws. None follows the means.

    Raises:
      ValueError: for an unknown divergence, layers that are none of the model's or repeated, or noise that is not
        of the model's layers.
    """
    check_choice("divergence", divergence, get_args(Divergence))
    chosen, layers_name = _choose_layers(layers, len(vae.latent_sizes))
    draws, suffix = _draws(vae, noise)
    return Objective(
        prepare=Partial(_Posteriors(chosen), vae, draws),
        distance=Partial(_Divergence(chosen, divergence), vae, draws),
        name=f"latent_{divergence}_{layers_name}{suffix}",
        unit="nats" if divergence in ("kl", "symmetric_kl") else "latent units",
    )


@dataclasses.dataclass(frozen=True)
class _Posteriors:
    """The chosen layers' posteriors of every target, the goals of a latent attack."""

    layers: tuple[int, ...]

    def __call__(self, vae: VAE, draws: Latents, sources: Images, targets: Images) -> tuple[Posterior, ...]:
        return jax.vmap(lambda image: self.of_image(vae, draws, image))(targets)

    def of_image(self, vae: VAE, draws: Latents, image: Image) -> tuple[Posterior, ...]:
        every = _encode(vae, image, draws).posteriors
        return tuple(every[layer] for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class _Divergence:
    """The mean over draws of r between the attacked image's posteriors and the goal."""

    layers: tuple[int, ...]
    divergence: Divergence

    def __call__(self, vae: VAE, draws: Latents, image: Image, goal: tuple[Posterior, ...]) -> Float[Array, ""]:
        return jnp.mean(_COMPARISONS[self.divergence](_Posteriors(self.layers).of_image(vae, draws, image), goal))


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
    draws, suffix = _draws(vae, noise)
    distance = Partial(_NegativeElbo(noise is not None), vae, draws)
    return Objective(_TARGETS, distance, f"output_elbo{suffix}", "nats")


@dataclasses.dataclass(frozen=True)
class _NegativeElbo:
    """The target's negative ELBO under the attacked image's codes."""

    drawn: bool

    def __call__(self, vae: VAE, draws: Latents, image: Image, target: Image) -> Float[Array, ""]:
        posteriors, latents = _encode(vae, image, draws)
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


def output_l2(vae: VAE, *, noise: Latents | None = None) -> Objective:
    """The output attack E ||g(z(x')) - x^t||^2, g the mean image (Gondim-Ribeiro et al. 2018).

    Args:
      vae: the attacked model.
      noise: standard normals [draw, latent] per layer, for the expectation. None follows the means.

    Raises:
      ValueError: for noise that is not of the model's layers.
    """
    draws, suffix = _draws(vae, noise)
    return Objective(_TARGETS, Partial(_squared_error, vae, draws), f"output_l2{suffix}", "squared pixel units")


def _squared_error(vae: VAE, draws: Latents, image: Image, target: Image) -> Float[Array, ""]:
    images = vae.likelihood.mean(vae.decode(_encode(vae, image, draws).latents))
    return jnp.sum(jnp.square(images - target)) / images.shape[0]


def _targets(sources: Images, targets: Images) -> Images:
    return targets


_TARGETS = Partial(_targets)


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
    draws, suffix = _draws(vae, noise)
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
    return _damage_of(vae, _encode(vae, image, draws).latents, goal)


def _damage_of(vae: VAE, latents: Latents, goal: DamageGoal) -> Float[Array, ""]:
    images = vae.likelihood.mean(vae.decode(latents))
    return -jnp.mean(jax.vmap(l2_norm)(images - goal.reconstruction))


@dataclasses.dataclass(frozen=True)
class _DamageThrough:
    """The damage where the means or the standard deviations see the attacked image, and the others the source."""

    through: Literal["mean", "std"]

    def __call__(self, vae: VAE, draws: Latents, image: Image, goal: DamageGoal) -> Float[Array, ""]:
        return _damage_of(vae, jax.vmap(lambda eta: self._mixed_path(vae, image, goal, eta))(draws), goal)

    def _mixed_path(self, vae: VAE, image: Image, goal: DamageGoal, eta: Latents) -> Latents:
        """The latents of one draw, means and standard deviations of two images."""
        latents: Latents = ()
        for layer in range(len(vae.latent_sizes)):
            attacked = cast(DiagonalGaussian, vae.posterior(image[None], latents))
            kept = cast(DiagonalGaussian, vae.posterior(goal.image[None], latents) if layer else goal.bottom)
            of_mean, of_std = (attacked, kept) if self.through == "mean" else (kept, attacked)
            latents = (*latents, of_mean.mean + of_std.std * eta[layer])
        return tuple(latent[0] for latent in latents)


def _joint_l2(attacked: tuple[Posterior, ...], target: tuple[Posterior, ...]) -> Float[Array, " draw"]:
    differences = [posterior.location(q) - posterior.location(p) for q, p in zip(attacked, target, strict=True)]
    return jax.vmap(l2_norm)(jnp.concatenate(differences, axis=-1))


def _sum_over_layers(divergence: Callable[[Posterior, Posterior], Array]) -> Callable[[Any, Any], Array]:
    def compare(attacked: tuple[Posterior, ...], target: tuple[Posterior, ...]) -> Float[Array, " draw"]:
        return sum(map(divergence, attacked[1:], target[1:]), divergence(attacked[0], target[0]))

    return compare


_COMPARISONS: Mapping[str, Callable[[tuple[Posterior, ...], tuple[Posterior, ...]], Float[Array, " draw"]]] = {
    "kl": _sum_over_layers(posterior.kl_divergence),
    "symmetric_kl": _sum_over_layers(posterior.symmetric_kl),
    "w2": _sum_over_layers(posterior.wasserstein2),
    "l2": _sum_over_layers(posterior.location_distance),
    "joint_l2": _joint_l2,
}


def _encode(vae: VAE, image: Image, draws: Latents) -> Encoding:
    """One image's encoding under every draw, each array with leading axis [draw]."""

    def encode(noise: Latents) -> Encoding:
        return jax.tree.map(lambda leaf: leaf[0], vae.encode(image[None], tuple(layer[None] for layer in noise)))

    return jax.vmap(encode)(draws)


def _repeat(image: Image, latents: Latents) -> Float[Array, "draw height width channels"]:
    return jnp.broadcast_to(image, (latents[0].shape[0], *image.shape))


def _choose_layers(layers: Layers, depth: int) -> tuple[tuple[int, ...], str]:
    """The chosen layers counted from 0, and a name for them."""
    named = {"all": range(depth), "top": range(depth - 1, depth), "bottom": range(1)}
    if isinstance(layers, str) and layers in named:
        return tuple(named[layers]), layers
    listed = isinstance(layers, tuple | list) and all(
        isinstance(layer, numbers.Integral) and not isinstance(layer, bool) for layer in layers
    )
    if not listed or not layers or len(set(layers)) < len(layers) or not set(layers) <= set(range(1, depth + 1)):
        raise ValueError(
            f"layers must be one of all, top, bottom, or a tuple of different layer numbers from 1 (nearest the data) "
            f"to {depth}; got {layers!r}"
        )
    ordered = sorted(int(layer) for layer in layers)
    return tuple(layer - 1 for layer in ordered), "layers_" + "_".join(map(str, ordered))


def _draws(vae: VAE, noise: Latents | None) -> tuple[Latents, str]:
    """The draws [draw, latent] per layer, one of zeros for None, and a name for them."""
    if noise is None:
        return vae.mean_path(1), ""
    expected = ", ".join(f"[draw, {size}]" for size in vae.latent_sizes)
    allowed = f"noise must be a tuple with one array per layer, {expected}, of the same number of draws, at least one"
    if not isinstance(noise, tuple | list):
        raise ValueError(f"{allowed}; got {type(noise).__name__}")
    shapes = [np.shape(layer) for layer in noise]
    number = shapes[0][0] if shapes and shapes[0] else 0
    if number < 1 or shapes != [(number, size) for size in vae.latent_sizes]:
        received = ", ".join(map(str, shapes)) or "none"
        raise ValueError(f"{allowed}; got shapes {received}")
    return tuple(jnp.asarray(layer) for layer in noise), f"_{number}_draws"


def _check_gaussian(vae: VAE, through: str) -> None:
    image = jax.ShapeDtypeStruct((1, *vae.image_shape), jnp.float32)
    for number, q in enumerate(jax.eval_shape(vae.encode, image, vae.mean_path(1)).posteriors, start=1):
        if not isinstance(q, DiagonalGaussian):
            raise TypeError(
                f"layer {number} is {type(q).__name__} and has no mean and standard deviation to attack one at a "
                f"time: pass through='both' in place of {through!r}"
            )
