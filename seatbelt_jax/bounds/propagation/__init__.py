"""Bounds of a JAX function over a ball, from its code.

`trace` and `patterns` read the jaxpr into a `graph`. `radii` bounds how far a value moves, compiled once for each
architecture: `start` and `chords` propagate the ball as `groups` of unknowns, `unary` bounds activations and `spectral`
norms.

Lipschitz constants are bounded on the host: `program` cuts the graph at its activations into `stages`. `forms` pushes
columns through the stages: `values` bounds what the activations read, `jacobians` the derivative over a ball.
"""

from seatbelt_jax.bounds.propagation.radii import common_radius, deviation_bound, radii

__all__ = ["common_radius", "deviation_bound", "radii"]
