"""The solvers by their names; each is a record: `sweep(..., solver=attacks.Adam(maxiter=3000))`."""

from seatbelt_jax.attacks.adam import Adam
from seatbelt_jax.attacks.box_lbfgs import BoxLBFGS
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.sigmoid_lbfgs import SigmoidLBFGS
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.attacks.threat import Threat
from seatbelt_jax.registry import Registry

# Each a dataclass of settings, maxiter among them.
SOLVERS: Registry[type[Solver]] = Registry("a solver")
SOLVERS.register("lbfgsb", BoxLBFGS)
SOLVERS.register("projected_gradient", ProjectedGradient)
SOLVERS.register("adam", Adam)
SOLVERS.register("sigmoid_lbfgs", SigmoidLBFGS)


def default_solver(threat: Threat) -> type[Solver]:
    """`ProjectedGradient` in an L2 ball, else `BoxLBFGS`."""
    return ProjectedGradient if threat.name == "l2_ball" else BoxLBFGS
