"""L-BFGS on the logits of the pixels: a box kept by a change of variables instead of by bounds."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
from jaxtyping import Array, Float, Int

from seatbelt_jax.attacks.arithmetic import cast, working_type
from seatbelt_jax.attacks.box_lbfgs import BoxLBFGS
from seatbelt_jax.attacks.lbfgsb_state import LBFGSBState
from seatbelt_jax.attacks.region import L2Ball, Region, bounds_of, check
from seatbelt_jax.attacks.solver import check_limits, run


class SigmoidLBFGSState(NamedTuple):
    """State of `SigmoidLBFGS`.

    Attributes:
      params: the accepted iterate, an image.
      logits: u, its logits; an image cannot tell those beyond rounding apart, so they are kept.
      inner: state of the L-BFGS over the logits; its error is the largest entry of the gradient in u.
    """

    params: Float[Array, "*image"]
    logits: Float[Array, "*image"]
    inner: LBFGSBState

    @property
    def iter_num(self) -> Int[Array, "*lanes"]:
        return self.inner.iter_num

    @property
    def value(self) -> Float[Array, "*lanes"]:
        return self.inner.value

    @property
    def error(self) -> Float[Array, "*lanes"]:
        return self.inner.error

    @property
    def status(self) -> Int[Array, "*lanes"]:
        return self.inner.status

    @property
    def num_fun_eval(self) -> Int[Array, "*lanes"]:
        return self.inner.num_fun_eval


@dataclasses.dataclass(frozen=True)
class SigmoidLBFGS:
    """L-BFGS without bounds on u, x = lower + (upper - lower) sigmoid(u), batched by `jax.vmap`.

    For comparison with published attacks that keep to the box by a change of variables: this one is of Carlini and
    Wagner 2017, Sec. V-B (their tanh(w) is 2 sigmoid(2 w) - 1), with this package's `LBFGSB` on infinite bounds. No
    pixel reaches a bound but by rounding, and the gradient in u vanishes as one comes near: CONVERGED means no descent
    in u, and a pixel may be held at the wrong bound. Pixels that start on a bound, or within `margin` of it, are moved
    inside: an attack then does not start at d = 0. `LBFGSB` does neither.

    `init_state(fun, params, region, *args)`, `update(fun, params, state, region, *args)` and
    `run(fun, params, region, *args)`: params
    is one image, region finite bounds (lower, upper); where they are equal the pixel is fixed.

    Attributes:
      maxiter, history_size, tol, maxls, max_evaluations: as in `LBFGSB`; tol is in the objective's units per logit.
      margin: distance from either bound at the start at least, in widths of the box. 1e-2 leaves a pixel 1/25 of the
        gradient that it would have in the middle; at 1e-3 (1/250), attacks that start on bounds rarely get away.

    Raises:
      ValueError: limits out of range, or a margin outside of (0, 1/2).
    """

    maxiter: int = 200
    history_size: int = 10
    tol: float = 1e-5
    margin: float = 1e-2
    maxls: int = 20
    max_evaluations: int | None = None

    def __post_init__(self) -> None:
        check_limits(self, at_least_0=("maxiter", "tol"), at_least_1=("history_size", "maxls", "max_evaluations"))
        if not 0.0 < self.margin < 0.5:
            raise ValueError(f"margin={self.margin} must lie in (0, 1/2), a share of the box's width.")

    @property
    def _inner(self) -> BoxLBFGS:
        return BoxLBFGS(self.maxiter, self.history_size, self.tol, 0.0, self.maxls, self.max_evaluations)

    def init_state(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> SigmoidLBFGSState:
        """Evaluates the objective once, at the start moved inside of the box.

        Raises:
          TypeError: params are not one floating-point array, or the region is a ball.
          ValueError: the bounds do not fit params, or (outside of jit) are infinite.
        """
        x = _check_box(region, params)
        x = cast(x, working_type(lambda image: fun(image, *args), x, region))
        logits = self._logits(x, region)
        inner = self._inner.init_state(_Unbounded(fun), logits, None, region, *args)
        return SigmoidLBFGSState(_image(logits, region), logits, inner)

    def update(
        self,
        fun: Callable[..., Float[Array, ""]],
        params: Float[Array, "*image"],
        state: SigmoidLBFGSState,
        region: Region,
        *args: Any,
    ) -> jaxopt.OptStep:
        """One evaluation: a trial step, accepted or not. A finished problem is returned as it is.

        Args:
          params: the accepted iterate; the state's logits are used.
          state, region, *args: as from and for `init_state`.

        Returns:
          OptStep(params, state) with the accepted iterate.
        """
        del params
        logits, inner = self._inner.update(_Unbounded(fun), state.logits, state.inner, None, region, *args)
        image = _image(logits, region)
        return jaxopt.OptStep(image, SigmoidLBFGSState(image, logits, inner))

    def run(
        self, fun: Callable[..., Float[Array, ""]], params: Float[Array, "*image"], region: Region, *args: Any
    ) -> jaxopt.OptStep:
        """Updates until the status is final; arguments and errors as for `init_state`."""
        return run(self, fun, _check_box(region, params), region, args)

    def _logits(self, x: Float[Array, "*image"], region: Region) -> Float[Array, "*image"]:
        lower, upper = bounds_of(region, x)
        width = upper - lower
        share = jnp.where(width > 0.0, (x - lower) / jnp.where(width > 0.0, width, 1.0), 0.5)
        return jax.scipy.special.logit(jnp.clip(share, self.margin, 1.0 - self.margin))


@dataclasses.dataclass(frozen=True)
class _Unbounded:
    """The objective as a function of the logits."""

    fun: Callable[..., Float[Array, ""]]

    def __call__(self, logits: Float[Array, "*image"], region: Region, *args: Any) -> Float[Array, ""]:
        return self.fun(_image(logits, region), *args)


def _image(logits: Float[Array, "*image"], region: Region) -> Float[Array, "*image"]:
    lower, upper = bounds_of(region, logits)
    # lower + (upper - lower) may miss the upper bound by rounding.
    return jnp.clip(lower + (upper - lower) * jax.nn.sigmoid(logits), lower, upper)


def _check_box(region: Region, params: Any) -> Float[Array, "*image"]:
    if isinstance(region, L2Ball):
        raise TypeError("SigmoidLBFGS keeps to a box (lower, upper), not to an L2Ball; use ProjectedGradient or Adam.")
    x = check(region, params)
    if not all(isinstance(bound, jax.core.Tracer) or np.all(np.isfinite(bound)) for bound in region):
        raise ValueError("SigmoidLBFGS needs finite bounds, got infinite ones; use LBFGSB or ProjectedGradient.")
    return x
