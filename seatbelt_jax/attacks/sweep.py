"""A sweep of attacks: every pair of images under every budget, as lanes advanced together."""

import functools

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from seatbelt_jax import per_example, posterior
from seatbelt_jax.attacks.latent_objective import latent
from seatbelt_jax.attacks.objective import Objective
from seatbelt_jax.attacks.search import Search
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.attacks.solvers import default_solver
from seatbelt_jax.attacks.threat import Penalty, Threat
from seatbelt_jax.gaussian import DiagonalGaussian
from seatbelt_jax.results import AttackResult
from seatbelt_jax.unfinished import Store
from seatbelt_jax.vae import VAE

Images = Float[Array | np.ndarray, "batch height width channels"]

# How much memory of an accelerator a block of lanes may use, and how many arrays of an image's size a lane needs: the
# solver's pairs, and the network's activations.
_BLOCK_BYTES = 4 * 2**30
_ARRAYS_PER_LANE = 100
_CPU_LANES = 16
_MOST_LANES = 1024


def sweep(
    vae: VAE,
    sources: Float[Array | np.ndarray, "pair height width channels"],
    targets: Float[Array | np.ndarray, "pair height width channels"] | None = None,
    *,
    objective: Objective | None = None,
    threat: Threat | None = None,
    solver: Solver | None = None,
    start_std: float = 0.0,
    restarts: int = 0,
    restart_std: float = 0.1,
    exchanges: int = 2,
    seed: int = 0,
    lanes_at_once: int | None = None,
    store: Store | None = None,
    progress: bool = False,
) -> AttackResult:
    """Attacks on every pair under every budget.

    Minimises distance(x + d) + cost(d) with x + d in the image range and the threat's region. By default
    sum_i KL(q(z^i|x + d) || q(z^i|x^t)) + lambda ||d||_2 (Willetts et al. 2021, Eq. 10) by L-BFGS-B from d = 0.

    Args:
      vae: the attacked model.
      sources, targets: images in the likelihood's range; row k of each is pair k. No targets for an untargeted
        objective.
      objective: what the attacker minimises; `latent(vae)` by default.
      threat: `Penalty` or `Ball` with its budgets; the penalties of `penalty_grid()` by default.
      solver: `BoxLBFGS()`, `ProjectedGradient()`, `Adam()` or `SigmoidLBFGS()`. Default: `ProjectedGradient()` in an L2
        ball, else `BoxLBFGS()`.
      start_std: standard deviation of the noise added to the source at the first start, in pixel units.
      restarts: how many further starts, from the source with noise of `restart_std`; the best result is kept.
      restart_std: standard deviation of the noise of restarts, and of the first start where the objective is flat at
        the source.
      exchanges: rounds of exchange. In each, an attack continues from a better image if the pair's attack under another
        budget, or the random search, has found one.
      seed: seed of the noise and of the random search.
      lanes_at_once: attacks held on each device together; by default chosen from the image size.
      store: keeps unfinished work, so that the same call goes on after an interruption.
      progress: whether to show bars over attacks.

    Raises:
      ValueError: for images of other shapes than the model's or out of range, targets that are missing, settings out
        of range, or a model whose output for an image depends on the other images of the batch.
      TypeError: for a solver that cannot keep to the threat's region.
    """
    objective = latent(vae) if objective is None else objective
    threat = Penalty() if threat is None else threat
    _check_settings(start_std, restart_std, {"restarts": restarts, "exchanges": exchanges, "seed": seed})
    sources, targets = _check_images(vae, objective, sources, targets)
    lanes_at_once = default_lanes_at_once(vae.image_shape) if lanes_at_once is None else lanes_at_once
    if lanes_at_once < 1:
        raise ValueError(f"lanes_at_once must be at least 1, got {lanes_at_once}")
    first_std = max(start_std, restart_std) if objective.random_start else start_std
    _check_model(vae, sources[0])
    with per_example.explained():
        search = Search(
            vae,
            objective,
            threat,
            default_solver(threat)() if solver is None else solver,
            sources,
            targets,
            noise_stds=[first_std, *[restart_std] * restarts],
            seed=seed,
            lanes_at_once=lanes_at_once,
            store=store,
            progress=progress,
        )
        search.from_sources()
        for number in range(1, exchanges + 1):
            search.exchange(number)
        return search.result()


def default_lanes_at_once(image_shape: tuple[int, int, int]) -> int:
    """How many attacks on images of this shape a device holds together.

    A CPU is fastest with few, whose pairs stay in its caches; an accelerator wants as many as its memory takes.
    """
    if jax.default_backend() == "cpu":
        return _CPU_LANES
    fit = _BLOCK_BYTES // (4 * int(np.prod(image_shape)) * _ARRAYS_PER_LANE)
    return int(2 ** np.floor(np.log2(np.clip(fit, 1, _MOST_LANES))))


def _check_model(vae: VAE, image: Float[np.ndarray, "height width channels"]) -> None:
    """Refuses a model that mixes the images of a batch; warns of layers that no image moves."""

    outputs = Partial(_outputs, vae) if vae.params is not None else functools.partial(_outputs, vae)
    found = per_example.check(outputs, image, vae.likelihood.image_range)
    per_example.warn_if_constant({name: values for name, values in found.items() if name.startswith("mean")})


def _outputs(vae: VAE, images: Float[Array, "batch height width channels"]) -> per_example.Outputs:
    posteriors, latents = vae.encode(images, vae.mean_path(len(images)))
    layers = {f"layer {number}": q for number, q in enumerate(posteriors, start=1)}
    means = {f"mean of {name}": posterior.location(q) for name, q in layers.items()}
    spreads = {f"log_std of {name}": q.log_std for name, q in layers.items() if isinstance(q, DiagonalGaussian)}
    return means | spreads | {"reconstruction": vae.likelihood.mean(vae.decode(latents))}


def _check_settings(start_std: float, restart_std: float, counts: dict[str, int]) -> None:
    for name, value in (("start_std", start_std), ("restart_std", restart_std)):
        if not 0.0 <= value < np.inf:
            raise ValueError(f"{name} must be a finite number >= 0, got {value}")
    for name, count in counts.items():
        if not isinstance(count, int | np.integer) or count < 0:
            raise ValueError(f"{name} must be a whole number >= 0, got {count!r}")


def _check_images(
    vae: VAE, objective: Objective, sources: Images, targets: Images | None
) -> tuple[np.ndarray, np.ndarray]:
    low, high = vae.likelihood.image_range
    if targets is None:
        if objective.targeted:
            raise ValueError(f"the objective {objective.name} needs targets; give an image for every source")
        targets = sources
    elif not objective.targeted:
        raise ValueError(f"the objective {objective.name} has no target; leave targets out")
    found = []
    for name, images in (("sources", sources), ("targets", targets)):
        images = np.asarray(images, np.float32)
        if images.shape[1:] != tuple(vae.image_shape) or not len(images):
            one = f"; one image needs a batch axis: {name}[None]" if images.shape == tuple(vae.image_shape) else ""
            raise ValueError(
                f"{name} must be images of shape [pair, {', '.join(map(str, vae.image_shape))}], "
                f"got {tuple(images.shape)}{one}"
            )
        _check_pixels(name, images, low, high)
        found.append(images)
    sources, targets = found
    if len(sources) != len(targets):
        raise ValueError(f"got {len(sources)} sources for {len(targets)} targets; give pairs")
    return sources, targets


def _check_pixels(name: str, images: np.ndarray, low: float, high: float) -> None:
    outside = ~((images >= low) & (images <= high))
    if outside.any():
        first = tuple(int(position[0]) for position in np.nonzero(outside))
        finite = np.isfinite(images)
        remedy = "rescale the images, or np.clip them" if finite.all() else "remove what is not finite"
        extremes = "none is finite"
        if finite.any():
            extremes = f"the finite ones reach from {images[finite].min():g} to {images[finite].max():g}"
        raise ValueError(
            f"{name} must lie in the model's image range [{low:g}, {high:g}]; {outside.sum()} of {images.size} pixels "
            f"do not, the first at index {first}: {images[first]:g} ({extremes}); {remedy}"
        )
