"""The solver that suits a threat; each is a record: `sweep(..., solver=attacks.Adam(maxiter=3000))`."""

from seatbelt_jax.attacks.box_lbfgs import BoxLBFGS
from seatbelt_jax.attacks.projected_gradient import ProjectedGradient
from seatbelt_jax.attacks.solver import Solver
from seatbelt_jax.attacks.threat import Threat


def default_solver(threat: Threat) -> type[Solver]:
    """`ProjectedGradient` in an L2 ball, else `BoxLBFGS`."""
    return ProjectedGradient if threat.name == "l2_ball" else BoxLBFGS
