"""Shows trained runs on one page: python launch/report.py --run=runs/A [--run=runs/B ...]

Reads what training, attacks and certificates left in the runs; writes one self-contained HTML page,
report.html in the run or, of several, in the directory that holds them, and figures/ beside it.
"""

import pathlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cli
import numpy as np
from absl import flags

from seatbelt_jax import bounds, metrics, models, plots, run, storage, training
from seatbelt_jax.attacks import AttackResult, Diagnosis, Status, diagnose
from seatbelt_jax.attacks.diagnose import MEANING

_SAMPLES = ("images", "reconstructions", "samples", "step", "image_low", "image_high")


def define_flags() -> None:
    flags.DEFINE_multi_string("run", None, "A run directory; give it again for each further run.", required=True)
    flags.DEFINE_string("output", None, "The page; report.html in the run, or beside the runs.")


def main() -> None:
    paths, output = flags.FLAGS.run, flags.FLAGS.output
    written = report(paths, output, command=f"python launch/report.py {shlex.join(sys.argv[1:])}")
    print(f"{written}: {len(paths)} {'run' if len(paths) == 1 else 'runs'}, {written.stat().st_size / 1e6:.1f} MB")


def report(
    paths: Sequence[str | pathlib.Path], output: str | pathlib.Path | None = None, *, command: str = ""
) -> pathlib.Path:
    """Writes the report of some runs and returns where it is.

    Raises:
      FileNotFoundError: where a run does not exist.
      ValueError: for the same run twice, runs on images of different shapes, damaged results, or an
        output that is a directory.
    """
    opened = [run.open(path) for path in paths]
    check_comparable(opened)
    target = _target(opened, output)
    names = names_of([one.path for one in opened])
    shown = [_results(one, name) for one, name in zip(opened, names, strict=True)]
    plots.build(shown, command=command).write(target)
    return target


def check_comparable(opened: Sequence[run.Run]) -> None:
    """Raises ValueError for the same run twice, or images of different shapes."""
    seen: dict[pathlib.Path, run.Run] = {}
    for one in opened:
        if one.path.resolve() in seen:
            raise ValueError(f"--run={one.path} is given twice; give every run once")
        seen[one.path.resolve()] = one
    first = opened[0]
    for other in opened[1:]:
        if other.image_shape != first.image_shape:
            sizes = [" x ".join(map(str, one.image_shape)) for one in (first, other)]
            raise ValueError(
                f"{first.path} has images of {sizes[0]} and {other.path} of {sizes[1]}; distances in pixel units do "
                "not compare between them, make one report for each"
            )


def _target(opened: Sequence[run.Run], output: str | pathlib.Path | None) -> pathlib.Path:
    if output is None:
        if len(opened) == 1:
            return opened[0].path / "report.html"
        parents = {one.path.absolute().parent for one in opened}
        if len(parents) > 1:
            raise ValueError("the runs are in different directories; say where the page goes with --output=PATH")
        return opened[0].path.parent / "report.html"
    target = pathlib.Path(output)
    if target.is_dir():
        raise ValueError(f"--output={output} is a directory; name the file, for example {target / 'report.html'}")
    return target


def names_of(paths: Sequence[pathlib.Path]) -> list[str]:
    """As much of the ends of the paths as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def _results(opened: run.Run, name: str) -> plots.ModelResults:
    try:
        kind = _kind(opened.config)
        image_range = models.make_likelihood(opened.config["model"]).image_range
    except (KeyError, TypeError) as error:
        raise ValueError(f"{opened.path / 'config.json'} lacks {error}; it is damaged or of another program") from error
    found = list(_results_of(opened, "certificates"))
    return plots.ModelResults(
        name=name,
        kind=kind,
        path=str(opened.path),
        num_layers=len(opened.config["model"]["latent_sizes"]),
        metrics=_metrics(opened.path),
        samples=_samples(opened.path / "samples.npz"),
        attacks={file.stem: _attack(file, arrays, image_range) for file, arrays in _results_of(opened, "attacks")},
        certificates=[_certificate(file, arrays) for file, arrays in found if _kind_of(file) == "certificate"],
        empirical=[_empirical(file, arrays) for file, arrays in found if _kind_of(file) == "empirical_margin"],
        settings=dict(_flat(opened.config)),
        provenance=dict(_flat(opened.provenance)),
    )


def _results_of(opened: run.Run, folder: str) -> Iterator[tuple[pathlib.Path, Mapping[str, np.ndarray]]]:
    """The results of the model as it stands; those of an earlier step are named and left out."""
    for file in sorted((opened.path / folder).glob("*.npz")):
        arrays = storage.read_npz(file)
        if "step" in arrays and arrays["step"] != opened.latest_step:
            print(
                f"left out: {file} is of step {arrays['step']}, the model of step {opened.latest_step}; make it anew",
                file=sys.stderr,
            )
        else:
            yield file, arrays


def _kind(config: Mapping[str, Any]) -> str:
    """The model in the field's words."""
    model, objective = config["model"], config["objective"]
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
    layers = f"{len(sizes)} layers of " if len(sizes) > 1 else ""
    latents = f"{layers}{', '.join(map(str, sizes))} latents"
    if discrete:
        latents += f" and Concrete ones of {', '.join(map(str, discrete))} classes"
    return f"{name}, {latents}, {weight}"


def _metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    rows = training.read_metrics(path)
    for line, row in enumerate(rows, 1):
        try:
            _ = row["split"], float(row["step"]), [float(value) for key, value in row.items() if key != "split"]
        except (KeyError, TypeError, ValueError) as error:
            file = path / "metrics.jsonl"
            raise ValueError(f"{file}, line {line}, is no row of metrics ({error}); it is damaged") from error
    return rows


def _attack(file: pathlib.Path, arrays: Mapping[str, np.ndarray], image_range: tuple[float, float]) -> plots.AttackData:
    try:
        found = AttackResult.from_arrays(arrays)
        endings = Counter(Status(status).name.lower() for status in found.status.ravel())
        diagnosis = diagnose(found)
        summary = metrics.summarise(found)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return plots.AttackData(
        name=found.name,
        unit=found.unit,
        targeted=found.targeted,
        threat=found.threat,
        budgets=found.budgets,
        sources=found.sources,
        targets=found.targets,
        source_reconstructions=found.source_reconstructions,
        target_reconstructions=found.target_reconstructions,
        adversarial=found.adversarial,
        adversarial_reconstructions=found.adversarial_reconstructions,
        objective=found.objective,
        distortion_norm=found.distortion_norm,
        negative_log_likelihood=found.negative_log_likelihood,
        clean_negative_log_likelihood=found.clean_negative_log_likelihood,
        distance_left=found.distance_left,
        distance_at_start=found.distance_at_start,
        shown=metrics.shown_budget(found),
        summary=summary,
        endings=endings,
        flags=_flags(diagnosis),
        image_range=image_range,
    )


def _flags(diagnosis: Diagnosis) -> list[plots.Flag]:
    return [
        plots.Flag(
            name.replace("_", " "), MEANING[name], None if name in diagnosis.untested else float(np.mean(attacks))
        )
        for name, attacks in diagnosis.flags.items()
    ]


def _kind_of(file: pathlib.Path) -> str:
    """What certification left in a file: a certificate, an empirical margin or minimal radii, by its name."""
    kinds = ("empirical_margin", "minimal_radius")
    return next((kind for kind in kinds if file.stem.startswith(kind)), "certificate")


def _certificate(file: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> plots.CertificateData:
    try:
        return certificate_data(bounds.Certificate.from_arrays(arrays))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def certificate_data(found: bounds.Certificate) -> plots.CertificateData:
    """What is shown of a certificate."""
    return plots.CertificateData(
        method=found.method,
        soundness=found.soundness,
        assumptions=found.assumptions,
        radius=found.radius,
        abstained=found.abstained,
        alpha=found.alpha,
        risk=found.risk,
        reconstruction_radius=found.reconstruction_radius,
        num_samples=found.num_samples,
        norm=found.norm,
    )


def _empirical(file: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> plots.EmpiricalData:
    try:
        return empirical_data(bounds.EmpiricalMargin.from_arrays(arrays))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def empirical_data(found: bounds.EmpiricalMargin) -> plots.EmpiricalData:
    """What is shown of the margins that attacks left."""
    return plots.EmpiricalData(
        upper=found.upper,
        curve_norms=found.curve_norms,
        curve_probability=found.curve_probability,
        alpha=found.alpha,
        risk=found.risk,
        reconstruction_radius=found.reconstruction_radius,
        num_samples=found.num_samples,
        norm=found.norm,
    )


def _samples(file: pathlib.Path) -> plots.Samples | None:
    if not file.exists():
        return None
    arrays = storage.read_npz(file)
    if missing := [name for name in _SAMPLES if name not in arrays]:
        raise ValueError(f"{file} lacks {', '.join(missing)}; train again, or remove it")
    image_range = float(arrays["image_low"]), float(arrays["image_high"])
    return plots.Samples(
        np.asarray(arrays["images"]),
        np.asarray(arrays["reconstructions"]),
        np.asarray(arrays["samples"]),
        int(arrays["step"]),
        image_range,
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """section.field -> value as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            listed = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{key}", f"{listed}"


if __name__ == "__main__":
    define_flags()
    cli.start(main)
