"""Upper bounds of the Lipschitz constants of a JAX function over a ball."""

import contextlib
import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from seatbelt_jax.bounds.checks import Norm, check_norm
from seatbelt_jax.bounds.linear_region import region_radius
from seatbelt_jax.bounds.propagation.forms import TooManyColumnsError
from seatbelt_jax.bounds.propagation.jacobians import jacobian_bounds
from seatbelt_jax.bounds.propagation.program import Program
from seatbelt_jax.bounds.propagation.values import input_intervals
from seatbelt_jax.sections import check_choice

Method = Literal["affine", "interval", "product"]


def local_lipschitz(
    function: Callable,
    x: Float[Array | ndarray, "*image"],
    radius: float,
    *,
    method: Method = "affine",
    norm: Norm = "l2",
) -> Any:
    """An upper bound of the Lipschitz constant of each output of a function over a ball around x.

    Args, result and errors as for `LipschitzBound` and its `bound`, which reads the function once for several radii
    or images.
    """
    return LipschitzBound(function, x, method=method, norm=norm).bound(radius)


class LipschitzBound:
    """Upper bounds of the Lipschitz constants of a function over balls around one x, for any radius.

    The function's jaxpr is read once, its calls inlined. It may be made of affine operations and of the activations
    ReLU, leaky ReLU, maximum or minimum with a constant, abs, tanh, sigmoid, exp, log1p, square, SiLU, softplus and
    logaddexp with a constant, in any graph without products of two values that depend on x.

    Methods, each of them sound, in the order of their tightness and cost:
      "product": products of the layers' norms and of the activations' largest slopes anywhere; sums over paths.
      "interval": the slopes of activations over the ball, their inputs' bounds by interval arithmetic after the first
        layer (there by dual norms), then the norms of the affine form of the Jacobian (`propagation.jacobians`).
      "affine": the same with inputs bounded by affine arithmetic too (`propagation.values`).
    The last two are never above the first, and at radius 0 they are the norm of the Jacobian at x.

    Soundness is that of real arithmetic: all is computed in float64, for the float32 weights that the function has,
    with bounds of inputs widened, and norms raised, by more than the rounding of the computations here (but for layers
    that cancel all but 1e-9 of each other). The function's own rounding errors are not part of its Lipschitz constant.
    Affine forms hold one column per pixel and per activation of unknown slope for the values in use; where the columns
    of one layer would take more than 1 GiB of float64, "affine" and "interval" give the product. Matrices whose
    shorter side is longer than 2048 are bounded more coarsely (`operator_norm`). A bound grows with the radius but for
    small steps back: a larger ball is bounded by other terms.

    Args:
      function: (x, *constants) -> an array or pytree of arrays, such as a DiagonalGaussian, for one example.
      x: the centre of the balls, any shape.
      constants: further arguments, pytrees of arrays that do not depend on x. What differs from image to image
        enters here, as the sigma(x) that a mean is divided by.
      method: "affine", "interval" or "product".
      norm: the norm of the balls and of distances of x, "l2" or "linf".

    Raises:
      TypeError: x is not floating point, or an output not float32 or float64.
      ValueError: x is not finite; the method or the norm is unknown; an operation on x is not supported.
    """

    def __init__(
        self,
        function: Callable,
        x: Float[Array | ndarray, "*image"],
        *constants: Any,
        method: Method = "affine",
        norm: Norm = "l2",
    ):
        self._method, self._norm = _checked(method, norm)
        self._program = Program(function, x, constants)
        self._x, self._instance = self._program.point(x), self._program.with_constants(constants)

    def at(self, x: Float[Array | ndarray, "*image"], *constants: Any) -> "LipschitzBound":
        """The bounds around another x, with the constants that belong to it, without reading the function anew.

        Raises:
          TypeError, ValueError: x or the constants differ in shape or type from those that the function was read
            with; x is not finite.
        """
        other = copy.copy(self)
        other._x, other._instance = self._program.point(x), self._program.with_constants(constants)
        return other

    def using(self, *, method: Method | None = None, norm: Norm | None = None) -> "LipschitzBound":
        """The bounds by another method or in another norm, around the same x.

        Raises:
          ValueError: the method or the norm is unknown.
        """
        other = copy.copy(self)
        other._method, other._norm = _checked(method or self._method, norm or self._norm)
        return other

    def bound(self, radius: float) -> Any:
        """Bounds over the ball {x' : ||x' - x||_norm <= radius}.

        Args:
          radius: at least 0, in the units of x; infinite for bounds that hold everywhere.

        Returns:
          The structure of the function's output with a Python float for each array y: at least
          sup ||dy/dx'||_{norm -> 2} over the ball, hence at least ||y(x') - y(x'')||_2 / ||x' - x''||_norm for any
          two of its points. 0 where y does not depend on x, infinite where no bound is found (exp everywhere).

        Raises:
          TypeError, ValueError: radius is not a number of at least 0.
        """
        _check_radius(radius)
        with jax.enable_x64(True):
            return jax.tree.unflatten(self._program.structure, self._bounds(float(radius)))

    def _bounds(self, radius: float) -> list[float]:
        program, instance = self._program, self._instance
        bounds = [0.0 if stage is None else instance.lipschitz(stage, self._norm) for stage in program.outputs]
        if self._method != "product":
            # Where forms do not fit into memory, the product remains.
            with contextlib.suppress(TooManyColumnsError):
                intervals = input_intervals(instance, self._x, radius, norm=self._norm, affine=self._method == "affine")
                bounds = list(map(min, jacobian_bounds(instance, intervals, self._norm), bounds))
        return bounds

    def linear_region_radius(self) -> float:
        """The radius of the ball around x in which the function is affine; see `linear_region.linear_region_radius`.

        Raises:
          ValueError: an activation is smooth and not linear.
        """
        return region_radius(self._instance, self._x, self._norm)


def _checked(method: Method, norm: Norm) -> tuple[Method, Norm]:
    check_choice("method", method, get_args(Method))
    check_norm(norm)
    return method, norm


def _check_radius(radius: float) -> None:
    if isinstance(radius, bool) or not isinstance(radius, int | float | np.integer | np.floating):
        raise TypeError(f"radius must be a real number, got {type(radius).__name__}")
    if not radius >= 0.0:
        raise ValueError(f"radius must be at least 0, or infinite, got {radius}")
