"""The L-BFGS-B step inside a box: generalised Cauchy point, then subspace minimisation.

Byrd, Lu, Nocedal and Zhu 1995, Sections 4 and 5, with the projection of Morales and Nocedal 2011, written as a fixed
number of dense passes over the pairs, so that a batch of problems costs what its arithmetic costs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seatbelt_jax.attacks import compact_hessian
from seatbelt_jax.attacks.arithmetic import power_of_two
from seatbelt_jax.attacks.box import Box, inward_gradient
from seatbelt_jax.attacks.compact_hessian import CompactHessian, Memory

# Steps along the projected path, as multiples of the model's minimiser on the unclipped path: first eight
# powers of 4, then eight points around the best of them and short of its neighbours: eight, as XLA's CPU backend
# multiplies by eight columns in half the time of nine.
_COARSE = tuple(4.0**k for k in range(-3, 5))
_FINE = tuple(4.0 ** (k / 4.5) for k in range(-4, 4))
# The longest move of a variable by the step of an empty memory, as a share of the widest bounds.
_FIRST_REACH = 0.125


def steepest_curvature(x: Float[Array, "n"], gradient: Float[Array, "n"], box: Box) -> Float[Array, ""]:
    """The theta of an empty memory: a steepest descent step moves one variable an eighth of the box, and no other more.

    The variable of the largest gradient moves by an eighth of the widest finite bounds, or by 1/4 where none are
    finite. So the step does not depend on the units of the objective or of the variables. `benchmarks.
    bench_lbfgsb_iterations` compares it with other first steps.
    """
    largest = jnp.max(jnp.abs(inward_gradient(x, gradient, box)), initial=0.0)
    width = box.upper - box.lower
    width = jnp.max(jnp.where(jnp.isfinite(width), width, 0.0), initial=0.0)
    theta = largest / jnp.where(width > 0.0, _FIRST_REACH * width, 2.0 * _FIRST_REACH)
    return jnp.where(theta > 0.0, theta, 1.0)


def _cauchy_step(
    x: Float[Array, "n"],
    gradient: Float[Array, "n"],
    box: Box,
    hessian: CompactHessian,
    memory: Memory,
) -> Float[Array, "n"]:
    """The best of a fixed set of points on the projected path P(x - t g), as a step from x.

    Breakpoints are not visited: the quadratic model is evaluated at all steps of a grid at once, twice, which finds
    the path's minimiser within a quarter of its step. Convergence needs a fraction of the Cauchy decrease only.
    """
    inward = inward_gradient(x, gradient, box)
    unit = power_of_two(inward)
    inward = inward / unit
    curvature = compact_hessian.quadratic_form(hessian, memory, inward[None])[0]
    squared = jnp.sum(jnp.square(inward))
    steepest = unit * jnp.where(curvature > 0.0, squared / curvature, 1.0 / hessian.theta)

    def steps_and_models(t: Float[Array, "points"]) -> tuple[Array, Array]:
        z = box.project(x - t[:, None] * inward) - x
        model = z @ gradient + 0.5 * compact_hessian.quadratic_form(hessian, memory, z)
        return z, model

    coarse = steepest * jnp.asarray(_COARSE, x.dtype)
    _, coarse_model = steps_and_models(coarse)
    best = jnp.argmin(coarse_model)
    fine = coarse[best] * jnp.asarray(_FINE, x.dtype)
    z, model = steps_and_models(fine)
    return z[jnp.argmin(model)]


def _truncate(start: Float[Array, "n"], step: Float[Array, "n"], free: Bool[Array, "n"], box: Box) -> Float[Array, "n"]:
    """The longest multiple (at most 1) of `step` that stays in the box."""
    room = jnp.where(step > 0.0, box.upper - start, box.lower - start)
    moving = free & (step != 0.0)
    ratio = jnp.where(moving, room / jnp.where(moving, step, 1.0), 1.0)
    return jnp.clip(jnp.min(ratio), 0.0, 1.0) * step


@jax.jit
def minimise_model(
    x: Float[Array, "n"], gradient: Float[Array, "n"], box: Box, memory: Memory
) -> tuple[Float[Array, "n"], Bool[Array, ""]]:
    """The approximate minimiser of the quadratic model in the box.

    Args:
      x: a point in the box.
      gradient: the objective's gradient there.
      box: the bounds.
      memory: the pairs that define the model's Hessian B.

    Returns:
      a point of the box that lies in a descent direction from x, and whether the factorisations broke down, in
      which case the point is a steepest descent step's and the memory should be emptied.
    """
    hessian = compact_hessian.factorise(memory)
    cauchy = _cauchy_step(x, gradient, box, hessian, memory)
    point = box.project(x + cauchy)
    free = (point > box.lower) & (point < box.upper)
    residual = gradient + compact_hessian.multiply(hessian, memory, cauchy)
    newton = -compact_hessian.solve_subspace(hessian, memory, residual, free)

    scaled = gradient / power_of_two(gradient)

    def descends(target: Float[Array, "n"]) -> Bool[Array, ""]:
        return (target - x) @ scaled < 0.0

    projected = box.project(point + newton)
    truncated = box.project(point + _truncate(point, newton, free, box))
    steepest = box.project(x - gradient / steepest_curvature(x, gradient, box))
    target = jnp.where(descends(truncated), truncated, point)
    target = jnp.where(descends(projected), projected, target)
    sound = descends(target) & jnp.all(jnp.isfinite(newton))
    return jnp.where(sound, target, steepest), ~sound
