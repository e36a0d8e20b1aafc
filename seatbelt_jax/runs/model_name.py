"""The field's name for a model."""

from collections.abc import Mapping, Sequence
from typing import Any


def described(config: Mapping[str, Any]) -> str:
    """Describes a run's model from its configuration: "Seatbelt-VAE, 3 layers of 24, 12, 6 latents, β = 10".

    A model of the user's own has the name of the function that builds it.

    Raises:
      KeyError: the configuration has no latent sizes.
    """
    model = config["model"]
    if "build" in model:
        given = ", ".join(f"{name}={value}" for name, value in model["arguments"].items())
        return f"{model['build']}({given}), {_latents(model['latent_sizes'])}"
    objective = config["objective"]
    sizes, discrete = model["latent_sizes"], model.get("discrete_sizes", ())
    reads_all = model.get("decoder_reads", "all") == "all"
    beta, penalty = objective.get("beta", 1.0), objective.get("penalty", "total_correlation")
    by_ratio = objective.get("estimator") == "density_ratio"
    if penalty == "capacity":
        name = "JointVAE" if discrete else "VAE with capacities"
    elif len(sizes) == 1:
        penalised = "FactorVAE" if by_ratio else "β-TCVAE"
        name = "VAE" if beta == 1 else penalised if penalty == "total_correlation" else "β-VAE"
    elif reads_all:
        name = "Seatbelt-VAE" if beta != 1 and penalty == "total_correlation" else "skip-connected hierarchical VAE"
    else:
        name = "DLGM" if beta == 1 else "β-TCDLGM" if penalty == "total_correlation" else "β-DLGM"
    weight = f"γ = {beta:g}" if penalty == "capacity" else f"γ = {beta - 1:g}" if by_ratio else f"β = {beta:g}"
    latents = _latents(sizes)
    if discrete:
        latents += f" and Concrete ones of {', '.join(map(str, discrete))} classes"
    return f"{name}, {latents}, {weight}"


def _latents(sizes: Sequence[int]) -> str:
    layers = f"{len(sizes)} layers of " if len(sizes) > 1 else ""
    return f"{layers}{', '.join(map(str, sizes))} latents"
