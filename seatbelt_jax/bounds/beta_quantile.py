"""The quantile of a Beta distribution, in a form that JAX can compile and derive."""

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln
from jaxtyping import Array, Float

Number = Float[Array, ""]
# Halvings of [0, 1].
_HALVINGS = 90
# The continued fraction ends where a step changes it by less, and in any case after so many steps.
_CLOSE = 1e-14
_STEPS = 20_000
# Step of the difference quotient in the parameters, as a share of a parameter below 1.
_STEP = 1e-4


@jax.custom_jvp
def beta_quantile(a: Number, b: Number, level: Number) -> Number:
    """The x at which the regularised incomplete beta function I_x(a, b) is the level, from below.

    By bisection. First derivatives follow from the implicit function: in the level by the density, in a and b by a
    central difference of `incomplete_beta`.

    Args:
      a, b: positive.
      level: in (0, 1).

    Returns:
      A number in [0, 1), to 90 binary places.
    """

    def halved(_: int, bracket: tuple[Number, Number]) -> tuple[Number, Number]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = incomplete_beta(a, b, middle) <= level
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    return jax.lax.fori_loop(0, _HALVINGS, halved, (jnp.zeros_like(level), jnp.ones_like(level)))[0]


@beta_quantile.defjvp
def _beta_quantile_jvp(primals: tuple, tangents: tuple) -> tuple[Number, Number]:
    a, b, level = primals
    x = beta_quantile(a, b, level)
    density = jnp.exp((a - 1.0) * jnp.log(x) + (b - 1.0) * jnp.log1p(-x) - betaln(a, b))
    step_a, step_b = _STEP * jnp.minimum(a, 1.0), _STEP * jnp.minimum(b, 1.0)
    by_a = (incomplete_beta(a + step_a, b, x) - incomplete_beta(a - step_a, b, x)) / (2.0 * step_a)
    by_b = (incomplete_beta(a, b + step_b, x) - incomplete_beta(a, b - step_b, x)) / (2.0 * step_b)
    return x, (tangents[2] - by_a * tangents[0] - by_b * tangents[1]) / density


def incomplete_beta(a: Number, b: Number, x: Number) -> Number:
    """I_x(a, b), to the accuracy of lgamma(a + b): 1e-10 of itself for a + b of 1e6.

    By the continued fraction of DLMF 8.17.22, in some sqrt(a + b) steps, at x or, right of the mean, at 1 - x. JAX's
    own function is compiled with constants of the type that is current when the program is, not of its arguments.
    """
    left = x * (a + b + 2.0) < a + 1.0
    log_front = a * jnp.log(x) + b * jnp.log1p(-x) - betaln(a, b)
    first, second, point = jnp.where(left, a, b), jnp.where(left, b, a), jnp.where(left, x, 1.0 - x)
    tail = jnp.exp(log_front) / (first * _fraction(first, second, point))
    return jnp.where(x > 0.0, jnp.where(left, tail, 1.0 - tail), 0.0)


def _fraction(a: Number, b: Number, x: Number) -> Number:
    """1 + d_1 / (1 + d_2 / (1 + ..)), by the modified method of Lentz; d_m as in DLMF 8.17.23."""

    def unfinished(state: tuple) -> Array:
        step, _, _, _, change = state
        return (step < _STEPS) & (jnp.abs(change - 1.0) > _CLOSE)

    def lengthened(state: tuple) -> tuple:
        step, value, above, below, _ = state
        m = step
        odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        even = (m + 1.0) * (b - m - 1.0) * x / ((a + 2.0 * m + 1.0) * (a + 2.0 * m + 2.0))
        change = jnp.ones_like(value)
        for term in (odd, even):
            above = _not_zero(1.0 + term / above)
            below = 1.0 / _not_zero(1.0 + term * below)
            change = above * below
            value = value * change
        return step + 1.0, value, above, below, change

    one = jnp.ones_like(x)
    start = (jnp.zeros_like(x), one, one, jnp.zeros_like(x), jnp.full_like(x, jnp.inf))
    return jax.lax.while_loop(unfinished, lengthened, start)[1]


def _not_zero(value: Number) -> Number:
    return jnp.where(jnp.abs(value) < 1e-300, 1e-300, value)
