"""Attacks the model of a run."""

import dataclasses
import inspect
import math
import pathlib
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_args

import jax
import numpy as np

from seatbelt_jax import attacks, data, metrics, runs, sections, storage
from seatbelt_jax.jobs import run_data
from seatbelt_jax.options import check, option
from seatbelt_jax.results import files
from seatbelt_jax.vae import VAE

_THREATS = ("penalty", "squared_penalty", "l2_ball", "linf_ball")
_RADII = {"l2_ball": (0.5, 1.0, 2.0, 4.0, 8.0), "linf_ball": (0.02, 0.05, 0.1, 0.2, 0.4)}
# Beyond these a typing error is likelier than a wish, and memory ends before the attack begins.
_MOST, _MOST_STARTS = 100_000, 10_000
# The attack of Sootla 2018, Sec. 3.3. The objective's L2 norm is over both of JointVAE's layers together.
_SOOTLA = {"divergence": "joint_l2", "budgets": (1.0,), "solver": "adam", "iterations": 1000, "keep_best": False}
_SOOTLA |= {"start_std": 0.2, "exchanges": 0}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is done to a run.

    Raises:
      ValueError: for values that an option does not allow.
    """

    attack: str = option("latent", "The attack.", choices=attacks.OBJECTIVES)
    divergence: str = option("kl", "Divergence that a latent attack minimises.", choices=attacks.DIVERGENCES)
    layers: str = option(
        "all", "Latent layers that a latent attack targets: all, top, bottom, or a list from 1 on, such as 1,3."
    )
    through: str = option("both", "What maximum_damage changes in the posterior.", choices=get_args(attacks.Through))
    draws: int = option(0, "Number of noise draws to average over; 0 decodes the posterior means.", least=0, most=_MOST)
    threat: str = option("", "Threat model. Default: penalty; l2_ball for maximum_damage.", choices=_THREATS)
    penalties: int = option(
        50, "Number of penalty weights, spaced geometrically from 2^-20 to 2^20.", least=1, most=_MOST
    )
    budgets: tuple[float, ...] = option(
        (), "List of penalty weights, or of radii in pixel units, that replaces the default."
    )
    pixel_limit: float | None = option(None, "Largest change of a single pixel under a penalty.")
    solver: str = option("", "Solver. Default: lbfgsb; projected_gradient for l2_ball.", choices=attacks.SOLVERS)
    iterations: int | None = option(None, "Iteration limit for each start. Default: 200; 1000 for adam.", least=1)
    learning_rate: float = option(1e-3, "Learning rate of adam, in pixel units.", least=0.0)
    keep_best: bool = option(True, "Return the best iterate of adam instead of the last.")
    accumulate_gradients: bool = option(
        False, "Let adam sum all gradients so far, as the code of Sootla 2018 did by mistake."
    )
    start_std: float = option(
        0.0, "Standard deviation of the noise added to the first start, in pixel units.", least=0.0
    )
    restarts: int = option(0, "Number of random restarts; the best result is kept.", least=0, most=_MOST_STARTS)
    exchanges: int = option(
        2, "Rounds in which each attack restarts from attacks under other budgets.", least=0, most=_MOST_STARTS
    )
    split: str = option("validation", run_data.SPLIT_HELP, choices=run_data.UNSEEN)
    pairs: int = option(10, "Number of image pairs; with --pairs_by=all_labels, number of sources per label.", least=1)
    pairs_by: str = option(
        "seed",
        "How pairs are chosen. seed: at random; label: at random with different labels; all_labels: every ordered pair "
        "of labels; factor:NAME: sprites that differ only in shape, scale, orientation, x or y; or image numbers "
        "SOURCE-TARGET, such as 3-7,8-9.",
    )
    seed: int = option(0, "Seed of the pairs and of all noise.")
    lanes_at_once: int | None = option(None, "Number of attacks that run at once on each device.", least=1)
    name: str = option("", "Suffix of the result files' names, which keeps earlier results.")

    def __post_init__(self) -> None:
        check("attack", self)
        sections.check_seed("attack.seed", self.seed)
        for budget in self.budgets:
            if not 0.0 <= budget < math.inf:
                raise ValueError(f"budgets must be finite numbers >= 0, got {budget!r}")
        if self.pixel_limit is not None and not self.pixel_limit > 0.0:
            raise ValueError(f"pixel_limit must be positive, or None for no limit; got {self.pixel_limit}")


def attack(path: str | pathlib.Path, options: Options, *, allow: Collection[str] = ()) -> None:
    """Attacks the model of a run and writes what it finds into the run; `allow` is as in `runs.open`."""
    check_read(options, {name for name, value in vars(options).items() if value != getattr(Options, name)})
    if not re.fullmatch(r"[\w.-]{0,40}", options.name):
        raise ValueError(
            f"--name={options.name} must be at most 40 letters, digits, dots and hyphens: it is part of a file's name"
        )
    opened = runs.open(path, allow=allow)
    # Before minutes of work.
    storage.check_writable(opened.path / "attacks")
    # Before the work: a training that goes on meanwhile must not put its later step on these results.
    step = opened.latest_step
    vae = opened.load_vae(step)
    objective, threat = _objective(vae, options), _threat(options)
    sources, targets, numbers = _pairs(opened, vae.likelihood.image_range, options)
    folder, name = opened.path / "attacks", _name(objective, threat, options)
    unfinished = storage.Folder(folder / f".{name}")
    if unfinished.path.exists():
        print(f"{unfinished.path} has unfinished work; the parts that belong to this attack are reused")
    result = attacks.sweep(
        vae,
        sources,
        targets if objective.targeted else None,
        objective=objective,
        threat=threat,
        solver=_solver(options, threat),
        start_std=options.start_std,
        restarts=options.restarts,
        exchanges=options.exchanges,
        seed=options.seed,
        lanes_at_once=options.lanes_at_once,
        store=unfinished,
        progress=True,
    )
    result = dataclasses.replace(result, split=options.split, **numbers)
    diagnosis = attacks.diagnose(result)
    columns = _columns(result)
    rows = [
        {
            **row,
            **{name: column.flat[lane] for name, column in columns.items()},
            "flags": ";".join(diagnosis.names(*divmod(lane, threat.budgets.size))),
        }
        for lane, row in enumerate(result.rows())
    ]
    replaces = " (in place of earlier ones)" if (folder / f"{name}.npz").exists() else ""
    summary = metrics.summarise(result)
    storage.write_csv(folder / f"{name}.csv", rows)
    storage.write_csv(folder / f"{name}_summary.csv", _summary_rows(summary))
    # Last: where it is, the others are.
    files.write(folder / f"{name}.npz", result, step, options)
    unfinished.remove()
    print(
        f"{opened.path}: {result.status.size} attacks on {options.split} images, "
        f"median Delta {summary['median_objective']:.4g} {result.unit}, "
        f"median ||d|| {summary['median_distortion_l2']:.3g}; {folder / f'{name}.npz'}{replaces}"
    )
    if threat.name.endswith("ball"):
        # Each ball is another question; under penalties the attacker chooses how far to go.
        for radius, objectives in zip(threat.budgets, result.objective.T, strict=True):
            print(f"  radius {radius:g}: median Delta {np.nanmedian(objectives):.4g} {result.unit}")
    for line in diagnosis.describe():
        print(f"  {line}")


def _objective(vae: VAE, options: Options) -> attacks.Objective:
    make = attacks.OBJECTIVES[options.attack]
    numbered = re.fullmatch(r"[0-9]+(,[0-9]+)*", options.layers)
    given: dict[str, Any] = {name: getattr(options, name) for name in _read_by(make) if hasattr(options, name)}
    if "layers" in given and numbered:
        given["layers"] = tuple(map(int, options.layers.split(",")))
    if "draws" in given:
        draws = given.pop("draws")
        given["noise"] = vae.sample_noise(jax.random.key(options.seed), draws) if draws else None
    return make(vae, **given)


def _read_by(make: Callable) -> list[str]:
    """The options that an objective reads, and its further settings; its `noise` is the option `draws`."""
    keywords = [name for name, one in inspect.signature(make).parameters.items() if one.kind is one.KEYWORD_ONLY]
    return ["draws" if name == "noise" else name for name in keywords]


def _threat(options: Options) -> attacks.Threat:
    name = _threat_name(options)
    if name.endswith("ball"):
        return attacks.Ball(np.array(options.budgets or _RADII[name]), "l2" if name == "l2_ball" else "linf")
    budgets = np.array(options.budgets) if options.budgets else attacks.penalty_grid(options.penalties)
    return attacks.Penalty(budgets, squared=name == "squared_penalty", pixel_limit=options.pixel_limit)


def _threat_name(options: Options) -> str:
    return options.threat or ("l2_ball" if options.attack == "maximum_damage" else "penalty")


def _solver(options: Options, threat: attacks.Threat) -> attacks.Solver:
    make = attacks.SOLVERS[options.solver] if options.solver else attacks.default_solver(threat)
    settings = {} if options.iterations is None else {"maxiter": options.iterations}
    if options.solver:
        settings |= {name: getattr(options, name) for name in _settings_of(make)}
    return make(**settings)


def _settings_of(solver: type[attacks.Solver]) -> list[str]:
    """The options that a solver reads besides those that all do."""
    return [name for name in inspect.signature(solver).parameters if name in Options.__dataclass_fields__]


def _name(objective: attacks.Objective, threat: attacks.Threat, options: Options) -> str:
    """The stem of the result files' names: attacks that differ have different ones, and do not overwrite each other."""
    parts = [objective.name]
    if threat.name != "penalty":
        parts.append(threat.name)
    if options.pixel_limit is not None:
        parts.append(f"within_{options.pixel_limit:g}")
    if options.solver and attacks.SOLVERS[options.solver] is not attacks.default_solver(threat):
        parts.append(options.solver)
    if options.pairs_by != "seed" and not _numbered(options):
        parts.append(options.pairs_by.replace(":", "_"))
    if options.split != Options.split:
        parts.append(options.split)
    if options.name:
        parts.append(options.name)
    return "_".join(parts)


def _pairs(
    opened: runs.Run, image_range: tuple[float, float], options: Options
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Sources, targets, and what the result says of them: their numbers, and labels where there are any."""
    how, number, seed = options.pairs_by, options.pairs, options.seed
    if how.startswith("factor:"):
        factor = how.removeprefix("factor:")
        found = data.one_factor_pairs(opened.config["data"], image_range, factor, number, seed)
        return *found[:2], dict(zip(("source_index", "target_index"), found[2:], strict=True))
    images = run_data.unseen(opened, image_range, options.split)
    if how in ("label", "all_labels"):
        if images.labels is None:
            raise ValueError(f"--pairs_by={how}: {images.name} has no labels; choose pairs by seed or by number")
        choose = attacks.label_pairs if how == "label" else attacks.all_label_pairs
        pairs = choose(np.asarray(images.labels(np.arange(images.size))), number, seed=seed)
    elif how == "seed":
        pairs = attacks.random_pairs(number, images.size, seed=seed)
    elif _numbered(options):
        pairs = attacks.index_pairs(how, images.size)
    else:
        raise ValueError(f"--pairs_by={how} must be seed, label, all_labels, factor:NAME, or numbers such as 3-7,8-9")
    sources, targets = (np.asarray(images.images(column)) for column in pairs.T)
    numbers: dict[str, Any] = {"source_index": pairs[:, 0], "target_index": pairs[:, 1]}
    if images.labels is not None:
        source_labels, target_labels = (np.asarray(images.labels(column)) for column in pairs.T)
        numbers |= {"source_label": source_labels, "target_label": target_labels}
    return sources, targets, numbers


def _numbered(options: Options) -> bool:
    return re.match(r"\s*[0-9]", options.pairs_by) is not None


def _columns(result: attacks.AttackResult) -> dict[str, np.ndarray]:
    """Measures that stand beside each attack in its table, [pair, budget]; a pair's own in all its rows."""
    columns = {
        "relative_likelihood_degradation": metrics.relative_likelihood_degradation(result),
        "shown": np.arange(result.budgets.size) == metrics.shown_budget(result)[:, None],
    }
    if result.targeted:
        of_pairs = {
            "distortion_half_way_l2": metrics.distortion_to_reach(result, 0.5),
            "distortion_nine_tenths_l2": metrics.distortion_to_reach(result, 0.9),
            "auddc": metrics.auddc(result),
        }
        columns |= {name: np.broadcast_to(column[:, None], result.status.shape) for name, column in of_pairs.items()}
    return columns


def _summary_rows(summary: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row per measure; where it has no bounds, they are nan."""
    measures = [name for name in summary if not name.endswith(("_low", "_high"))]
    return [
        {
            "measure": name,
            "value": summary[name],
            **{bound: summary.get(f"{name}_{bound}", np.nan) for bound in ("low", "high")},
        }
        for name in measures
    ]


def sootla(chosen: dict[str, Any]) -> dict[str, Any]:
    """The settings of Sootla 2018, with what the command line changes of them."""
    changed = {**_SOOTLA, **chosen, "attack": "latent"}
    for name, kept in (("solver", changed["solver"] == "adam"), ("threat", "ball" not in changed.get("threat", ""))):
        if not kept:
            raise ValueError(
                f"--attack=sootla runs Adam with the penalty lambda = 1, so --{name}={chosen[name]} cannot be combined "
                "with it; choose yours with --attack=latent --divergence=joint_l2"
            )
    return changed


def check_read(options: Options, given: set[str]) -> None:
    """Refuses options that nothing reads beside the others: what was asked for would silently not happen."""
    threat = _threat_name(options)
    penalty = not threat.endswith("ball")
    # Option -> whether it is read, and what it goes with.
    reading = {}
    for flag, chosen, read in (
        ("attack", options.attack, {name: _read_by(make) for name, make in attacks.OBJECTIVES.items()}),
        ("solver", options.solver, {name: _settings_of(make) for name, make in attacks.SOLVERS.items()}),
    ):
        for name in {name for names in read.values() for name in names}:
            readers = [reader for reader, names in read.items() if name in names]
            reading[name] = (chosen in readers, f"--{flag}={' or '.join(readers)}, not {chosen or 'the default'}")
    reading |= {
        "penalties": (penalty and not options.budgets, f"penalties other than --budgets, not with --threat={threat}"),
        "pixel_limit": (penalty, f"a penalty, not with --threat={threat}"),
        "split": (not options.pairs_by.startswith("factor:"), "pairs of stored images, not with sprites"),
        "pairs": (not _numbered(options), "pairs drawn at random; those of --pairs_by are given by their numbers"),
    }
    for name, (is_read, companions) in reading.items():
        if name in given and not is_read:
            raise ValueError(f"--{name} goes with {companions}")
