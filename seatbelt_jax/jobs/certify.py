"""Certifies images under the models of runs."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from seatbelt_jax import bounds, plots, runs, storage
from seatbelt_jax.bounds import pathwise_bounds
from seatbelt_jax.jobs import certification, run_data
from seatbelt_jax.jobs.certification import Options
from seatbelt_jax.report.comparable import check_comparable, names_of
from seatbelt_jax.results import NORMS, files

# Images certified where no number is given and there are as many.
_IMAGES = 50
# What is done so far, beside the results.
_UNFINISHED = ".unfinished"
# The default beside methods of first order, of any depth.
_SOUND = "best_sound"


def certify(
    paths: str | pathlib.Path | Sequence[str | pathlib.Path],
    options: Options,
    output: str | pathlib.Path | None = None,
    *,
    allow: Collection[str] = (),
) -> None:
    """Certifies images under the models of runs and writes what it finds into the runs, and figures.

    Runs with Concrete latents, which have no margins, are passed over, and said to be. `allow` is as in `runs.open`.

    Raises:
      FileNotFoundError: where a run does not exist or has no checkpoint.
      ValueError: for options that make no sense, runs that do not compare, runs that all have Concrete latents, or an
        output that is a file.
      OSError: before any work, where the certificates of a run or the figures cannot be written.
    """
    paths = [paths] if isinstance(paths, str | pathlib.Path) else paths
    opened = _certifiable([runs.open(path, allow=allow) for path in paths])
    check_comparable(opened)
    folder = _figures_folder(opened, output, options.split)
    # Before minutes of work.
    for place in (folder, *(one.path / files.of_split("certificates", options.split) for one in opened)):
        storage.check_writable(place)
    tasks = [_task(one, options) for one in opened]
    names = names_of([one.path for one in opened])
    shown = [_certify(task, name, options) for task, name in zip(tasks, names, strict=True)]
    for name, picture in plots.certification_figures(shown).items():
        storage.write_bytes(folder / name, picture)
    # Not before all is done: started again, the runs that were finished are not certified anew.
    for task in tasks:
        task.unfinished.remove()
    print(f"{folder}: figures of {len(shown)} {'run' if len(shown) == 1 else 'runs'}")


def _certifiable(opened: Sequence[runs.Run]) -> list[runs.Run]:
    """The runs that have margins; the others are named with the reason, and where that is all of them, it is raised."""
    reasons = {one.path: reason for one in opened if (reason := certification.why_not(one.config))}
    if len(reasons) == len(opened):
        raise ValueError("; ".join(f"{path}: {reason}" for path, reason in reasons.items()))
    for path, reason in reasons.items():
        print(f"{path} skipped: {reason}")
    return [one for one in opened if one.path not in reasons]


class Task(NamedTuple):
    """One run and what is done to it.

    Attributes:
      step: of the model.
      split: whose images are certified.
      methods, images: by which, and what is certified.
      earlier: certificates of this step that stay, by their files' names.
    """

    opened: runs.Run
    step: int | None
    split: str
    model: bounds.Model
    methods: tuple[str, ...]
    images: np.ndarray
    earlier: Mapping[str, bounds.Certificate]

    @property
    def folder(self) -> pathlib.Path:
        return self.opened.path / files.of_split("certificates", self.split)

    @property
    def unfinished(self) -> storage.Folder:
        """Keeps what is done so far."""
        return storage.Folder(self.folder / _UNFINISHED)


def _task(opened: runs.Run, options: Options) -> Task:
    # Before the work: a training that goes on meanwhile must not put its later step on these results.
    step = opened.latest_step
    vae = opened.load_vae(step)
    model, depth = bounds.Model.of_vae(vae), len(vae.latent_sizes)
    methods = _methods(opened, depth, options)
    if left_out := [name for name in options.methods if name not in methods]:
        print(f"{opened.path} has {_layers(depth)}: left out {', '.join(left_out)}")
    part = run_data.unseen(opened, vae.likelihood.image_range, options.split)
    count = min(_IMAGES, part.size) if options.images is None else options.images
    if count > part.size:
        raise ValueError(f"there are {part.size} {options.split} images, not {count}; give --images={part.size}")
    if options.empirical > count:
        raise ValueError(f"--empirical={options.empirical} is more than the {count} images that are certified")
    images = np.asarray(part.images(np.arange(count, dtype=np.int32)))
    # A method that was asked for says itself what it does not know.
    if not options.methods and options.sound and (reason := pathwise_bounds.why_not(model, images[0])):
        print(f"{opened.path} has no sound margin, only those of first order: {reason}")
        methods = tuple(name for name in methods if name != _SOUND)
    names = [_file_name(method, options.norm) for method in methods]
    earlier = _earlier_certificates(
        opened.path / files.of_split("certificates", options.split), step, names, count, options
    )
    return Task(opened, step, options.split, model, methods, images, earlier)


def _methods(opened: runs.Run, depth: int, options: Options) -> tuple[str, ...]:
    if unknown := [name for name in options.methods if name not in bounds.METHODS]:
        raise ValueError(f"--methods: unknown method {', '.join(unknown)}; there are {', '.join(bounds.METHODS)}")
    kind = "one" if depth == 1 else "levels"
    of_depth = {name: method for name, method in bounds.METHODS.items() if method.models in (kind, "any")}
    if not options.methods:
        first_order = [
            name
            for name, method in of_depth.items()
            if method.models == "one" and method.soundness == "first_order" and options.norm in method.norms
        ]
        of_own_accord = tuple(first_order) if depth == 1 else ("hierarchical",)
        return (_SOUND, *of_own_accord) if options.sound or not of_own_accord else of_own_accord
    chosen = tuple(dict.fromkeys(name for name in options.methods if name in of_depth))
    if not chosen:
        raise ValueError(
            f"{opened.path} has {_layers(depth)}, which {', '.join(options.methods)} cannot certify; possible are "
            f"{', '.join(of_depth)}"
        )
    return chosen


def results(opened: runs.Run, options: Options) -> list[pathlib.Path]:
    """The files that say how `certify` ended, with these options, on a run."""
    methods = _methods(opened, len(opened.config["model"]["latent_sizes"]), options)
    folder = opened.path / files.of_split("certificates", options.split)
    names = [_file_name(method, options.norm) for method in methods]
    # Without --methods there is no sound margin where the code of the model is not understood.
    names = [
        name
        for name, method in zip(names, methods, strict=True)
        if options.methods or method != _SOUND or (folder / f"{name}.npz").exists()
    ]
    names += ["minimal_radius"] * options.minimal_radius
    names += [_file_name("empirical_margin", options.norm)] * (options.empirical > 0)
    return [folder / f"{name}.npz" for name in names]


def is_unfinished(opened: runs.Run, options: Options) -> bool:
    """Whether some `certify` of the run's images was broken off: tables and figures may be missing."""
    return (opened.path / files.of_split("certificates", options.split) / _UNFINISHED).exists()


def _layers(depth: int) -> str:
    return f"{depth} latent {'layer' if depth == 1 else 'layers'}"


def _earlier_certificates(
    folder: pathlib.Path, step: int | None, replaced: list[str], count: int, options: Options
) -> dict[str, bounds.Certificate]:
    """Those of this step that stay, and stand in one table with what is made now: of the same r and risk.

    Says where they were made otherwise: what is made now takes their place, or stands beside them, or does not.
    """
    found = {}
    for name in (_file_name(method, norm) for norm in NORMS for method in bounds.METHODS):
        file = folder / f"{name}.npz"
        if not file.exists() or not files.made_by(file).is_of(step):
            continue
        try:
            earlier = files.read(file, bounds.Certificate)
        except ValueError as error:
            if name in replaced:
                continue
            raise ValueError(f"{error}; remove it, or certify by this method too") from error
        same_question = (earlier.reconstruction_radius, earlier.risk) == (options.radius, options.risk)
        if name not in replaced and same_question:
            found[name] = earlier
        if not same_question or (earlier.n, earlier.num_samples, earlier.alpha) != (
            count, options.samples, options.alpha
        ):  # fmt: skip
            beside = "stays in margins.csv beside this" if same_question else "is left out of margins.csv"
            print(
                f"{file} {'is replaced' if name in replaced else beside}: it certifies {earlier.n} images at r = "
                f"{earlier.reconstruction_radius:g}, risk {earlier.risk:g}, alpha {earlier.alpha:g}, "
                f"{earlier.num_samples} draws; this one {count} images at r = {options.radius:g}, "
                f"risk {options.risk:g}, alpha {options.alpha:g}, {options.samples} draws"
            )
    return found


def _figures_folder(opened: Sequence[runs.Run], output: str | pathlib.Path | None, split: str) -> pathlib.Path:
    if output is not None:
        if pathlib.Path(output).exists() and not pathlib.Path(output).is_dir():
            raise ValueError(f"--output={output} is a file; name a directory for the figures")
        return pathlib.Path(output)
    if len({one.path.absolute().parent for one in opened}) > 1:
        raise ValueError(
            "the runs are in different directories; name a directory for the figures with --output=DIRECTORY"
        )
    return (opened[0].path if len(opened) == 1 else opened[0].path.parent) / files.of_split("figures", split)


def _certify(task: Task, name: str, options: Options) -> plots.CertifiedModel:
    """Certifies one run, and writes each result as soon as there is one."""
    path, store = task.opened.path, task.unfinished
    if store.path.exists():
        print(f"{store.path} has unfinished work; the parts that belong to this certification are reused")
    certificates = {
        name: dataclasses.replace(made, split=task.split)
        for name, made in certification.certificates(task.model, task.methods, task.images, options, store).items()
    }
    _write_certificates(task, certificates, options)
    for certificate in certificates.values():
        print(f"{path}: {_told(certificate, task.split)}")
    minimal, empirical = None, None
    if options.minimal_radius:
        minimal = certification.minimal_radius(task.model, task.images, options)
        minimal = dataclasses.replace(minimal, split=task.split)
        _write(task, "minimal_radius", minimal, options)
        print(
            f"{path}: minimal r of {len(minimal.estimate)} images: median {np.median(minimal.estimate):.4g}, largest "
            f"{np.max(minimal.estimate):.4g} (L2, pixel units)"
        )
    if options.empirical:
        empirical = certification.empirical_margin(task.model, task.images[: options.empirical], options, store)
        empirical = dataclasses.replace(empirical, split=task.split)
        _write(task, _file_name("empirical_margin", options.norm), empirical, options)
        print(f"{path}: {_told_of_attacks(empirical, certificates)}")
    config = task.opened.config
    return plots.CertifiedModel(
        name=name,
        certificates=list(certificates.values()),
        empirical=[] if empirical is None else [empirical],
        minimal_radius=minimal,
        beta=config.get("objective", {}).get("beta", 1.0),
        tau=config["model"].get("posterior_std_offset", 0.0),
    )


def _file_name(result: str, norm: str) -> str:
    """Margins in another norm stand beside those in L2."""
    return result if norm == "l2" else f"{result}_{norm}"


def _write(
    task: Task, name: str, record: bounds.EmpiricalMargin | bounds.MinimalRobustRadius, options: Options
) -> None:
    files.write(task.folder / f"{name}.npz", record, task.step, options)
    storage.write_csv(task.folder / f"{name}.csv", record.rows())


def _write_certificates(task: Task, certificates: Mapping[str, bounds.Certificate], options: Options) -> None:
    """And one table of all certificates of the model as it stands, those made earlier with them."""
    made = {_file_name(method, options.norm): certificate for method, certificate in certificates.items()}
    for name, certificate in made.items():
        files.write(task.folder / f"{name}.npz", certificate, task.step, options)
    standing = made | dict(task.earlier)
    rows = [row for certificate in standing.values() for row in certificate.rows()]
    storage.write_csv(task.folder / "margins.csv", rows)


def _told(certificate: bounds.Certificate, split: str) -> str:
    return (
        f"{certificate.method} margin ({certificate.soundness.replace('_', ' ')}) of {certificate.n} {split} images at "
        f"r = {certificate.reconstruction_radius:g}: median {np.median(certificate.radius):.4g}, mean "
        f"{certificate.mean_margin:.4g} ({NORMS[certificate.norm]}, pixel units); abstained on "
        f"{certificate.abstained.sum()}; at most {certificate.expected_failures:.3g} bounds expected to fail"
    )


def _told_of_attacks(empirical: bounds.EmpiricalMargin, certificates: Mapping[str, bounds.Certificate]) -> str:
    """The upper bounds, how far above the certified margins they are, and on how many images below."""
    found = np.isfinite(empirical.upper)
    told = (
        f"attacks show margins of at most {np.median(empirical.upper):.4g} (median, {NORMS[empirical.norm]}, "
        f"pixel units{', sigma frozen' if empirical.frozen_std else ''}); found on {found.sum()} of {found.size} images"
    )
    for method, certificate in certificates.items():
        certified = certificate.radius[: found.size]
        both = found & (certified > 0.0)
        if both.any():
            ratio = np.median(empirical.upper[both] / certified[both])
            told += f"; {ratio:.3g} times the {method} margin (median of {both.sum()})"
        if below := np.count_nonzero(empirical.upper < certified):
            told += f", but below it on {below} {'image' if below == 1 else 'images'}"
    return told
