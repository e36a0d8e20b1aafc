"""Records that attacks, bounds and measures return, their arrays and rows, and how files hold them.

The room stands on the ground: attacks and bounds fill these records, and plots and reports read the same ones.
"""

from seatbelt_jax.results.attack import AttackResult, Status
from seatbelt_jax.results.certificate import NORMS, Certificate, Comparable, JacobianNorms, Norm, Soundness
from seatbelt_jax.results.diagnosis import MEANING, NOT_CHECKED, Diagnosis
from seatbelt_jax.results.empirical import EmpiricalMargin
from seatbelt_jax.results.minimal import MinimalRobustRadius

__all__ = [
    "MEANING",
    "NORMS",
    "NOT_CHECKED",
    "AttackResult",
    "Certificate",
    "Comparable",
    "Diagnosis",
    "EmpiricalMargin",
    "JacobianNorms",
    "MinimalRobustRadius",
    "Norm",
    "Soundness",
    "Status",
]
