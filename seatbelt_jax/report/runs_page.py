"""One self-contained page on the robustness of one or several models, and its figures as files."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from seatbelt_jax import storage
from seatbelt_jax.plots import attacks, charts, curves, margins, text
from seatbelt_jax.plots.images import data_uri, image_grid
from seatbelt_jax.plots.sweeps import Sweep, sweeps, title_html
from seatbelt_jax.plots.text import escape
from seatbelt_jax.report import attacked, certified, legend, summary
from seatbelt_jax.report.legend import Models
from seatbelt_jax.report.page import page

_SHOWN_COLUMNS = 8


@dataclasses.dataclass(frozen=True)
class Report:
    """A page, and figures as PNG by file name."""

    html: str
    figures: Mapping[str, bytes]

    def write(self, path: storage.Path) -> None:
        """Writes the page and, beside it, figures/, every file whole or not at all."""
        path = pathlib.Path(path)
        for name, content in self.figures.items():
            storage.write_bytes(path.parent / "figures" / name, content)
        storage.write_bytes(path, self.html.encode())


def build(models: Models, *, command: str) -> Report:
    """Makes the report.

    Args:
      models: at least one, their names all different; results that are absent are named on the page
        with the command that makes them.
      command: what was typed to make this report, for its foot.

    Raises:
      ValueError: without models, or where two have the same name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report takes models of different names, at least one; got {names}")
    # Drawn once, used in the page and in the files.
    drawn: dict[str, Mapping[str, charts.Draw]] = {"learning_curves": curves.learning_charts(models)}
    for sweep in sweeps(models):
        drawn[f"attack_{sweep.key}"] = attacks.attack_charts(sweep)
    drawn["certified_margins"] = margins.certificate_charts(models)
    figures = {f"{name}.png": charts.png(list(entry.values())) for name, entry in drawn.items() if entry}
    for sweep in sweeps(models):
        for _, model, attack in sweep.swept:
            figures[f"attacked_images_{sweep.key}_{_file_name(model.name)}.png"] = attacks.attacked_images(attack)
    return Report(_page(models, drawn, command), figures)


def _page(models: Models, drawn: Mapping[str, Mapping[str, charts.Draw]], command: str) -> str:
    sections: dict[str, tuple[str, Callable[[], str]]] = {
        "summary": ("Summary", lambda: summary.summary(models)),
        "attacked-images": ("Attacked images", lambda: _attacked_images(models)),
        "attack-curves": ("Attacks by penalty or radius", lambda: _attack_curves(models, drawn)),
        "trust": ("How far to trust the attacks", lambda: _trust(models)),
        "certificates": ("Certified margins", lambda: _certificates(models, drawn)),
        "not-certified": ("What is not certified", lambda: _not_certified(models)),
        "measures": ("Measures of the evaluation", lambda: _measures(models)),
        "looks": ("Reconstructions and samples", lambda: _looks(models)),
        "learning": ("Learning curves", lambda: _learning(models, drawn)),
        "settings": ("Settings and provenance", lambda: _settings(models)),
    }
    several = len(models) > 1
    names = ", ".join(model.name for model in models)
    return page(
        sections,
        title=f"Robustness of {names}",
        heading="How hard are these autoencoders to fool?" if several else "How hard is this autoencoder to fool?",
        key=legend.key(models),
        introduction="introduction.html",
        command=command,
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)


def _without_attacks(models: Models) -> str:
    return legend.absent("attack results", "attack", [model for model in models if not model.attacks])


def _per_attack(models: Models, content: Callable[[Sweep], str]) -> str:
    """The content for every attack, under its title."""
    return "".join(f"<h3>{title_html(sweep)}</h3>{content(sweep)}" for sweep in sweeps(models))


def _attacked_images(models: Models) -> str:
    note = (
        '<p class="note">Each row is one pair of images. In <i>d</i>, mid-grey is no change; black and white are a '
        "change by the whole range. Each pair is shown at the penalty or radius whose Δ is the largest below the "
        "pair&rsquo;s mean, as in Willetts et al. 2019.</p>"
    )
    galleries = sum(len(sweep.swept) for sweep in sweeps(models))
    shown = _per_attack(models, lambda sweep: attacked.attacked_images(sweep, galleries))
    return (note + shown if shown else "") + _without_attacks(models)


def _attack_curves(models: Models, drawn: Mapping[str, Mapping[str, charts.Draw]]) -> str:
    note = (
        '<p class="note">Lines: medians over pairs; bands: the middle half of the pairs. Dashed: the value for '
        "the target&rsquo;s own code; an attack that reaches it deceives the model completely. Higher curves mean more "
        "robust models. Under a penalty, so do curves that rise at a smaller λ. At the far right λ is too large for "
        "any distortion, as in a ball of radius 0.</p>"
    )
    shown = _per_attack(models, lambda sweep: charts.grid(drawn[f"attack_{sweep.key}"], sweep.key))
    return (legend.key(models) + shown + note if shown else "") + _without_attacks(models)


def _trust(models: Models) -> str:
    return _per_attack(models, attacked.trust) + _without_attacks(models)


def _certificates(models: Models, drawn: Mapping[str, Mapping[str, charts.Draw]]) -> str:
    missing = legend.absent("certificates", "certify", [model for model in models if not model.certificates])
    if not drawn["certified_margins"]:
        return missing
    note = (
        '<p class="note">The margin of an image is the distance within which no distortion can make its '
        "reconstruction move by more than <i>r</i> more often than the risk allows. Left: the share of all images "
        "with at least that margin; an abstention counts as no margin. Right: the margins of the images that have "
        "one, with a row and a scale for each method. Larger is more robust. Margins compare only at the same "
        "<i>r</i>.</p>"
    )
    grid = charts.grid(drawn["certified_margins"], "certificates")
    return legend.key(models) + grid + note + certified.certificate_table(models) + missing


def _not_certified(models: Models) -> str:
    every = [certificate for model in models for certificate in model.certificates]
    without = [
        f"<b>{escape(model.name)}</b> has no certificate: only attacks tell about it."
        for model in models
        if not model.certificates
    ]
    return certified.not_certified(every, without)


def _measures(models: Models) -> str:
    """All numbers of the evaluations, by split."""
    header = ["measure", *(legend.heading(index, model) for index, model in enumerate(models))]
    parts = []
    for split in dict.fromkeys(split for model in models for split in model.measures):
        found = [model.measures.get(split, {}) for model in models]
        names = dict.fromkeys(name for one in found for name in one)
        rows: Iterator[text.Row] = (
            [escape(name.replace("_", " ")), *(text.shown(one.get(name)) for one in found)] for name in names
        )
        table = text.table(header, rows, kind="numbers sortable")
        parts.append(f"<details><summary>{len(names)} numbers, {escape(split)} images</summary>{table}</details>")
    without = [model for model in models if "validation" not in model.measures]
    return "".join(parts) + legend.absent("measures", "evaluate", without)


def _looks(models: Models) -> str:
    """Reconstructions and samples of each model that has them."""
    parts = []
    for index, model in enumerate(models):
        if (found := model.samples) is None:
            continue
        shown = min(_SHOWN_COLUMNS, len(found.images))
        columns = min(_SHOWN_COLUMNS, len(found.samples))
        kept = len(found.samples) // columns * columns
        pairs = np.stack([found.images[:shown], found.reconstructions[:shown]])
        generated = found.samples[:kept].reshape(-1, columns, *found.samples.shape[1:])
        parts.append(
            f'<h3>{legend.heading(index, model)}</h3><div class="looks">'
            + _look(pairs, found.image_range, f"Validation images, each above its reconstruction; step {found.step}.")
            + _look(generated, found.image_range, "Images generated from the prior.")
            + "</div>"
        )
    without = [model for model in models if model.samples is None]
    return "".join(parts) + legend.absent("reconstructions and samples", "train", without)


def _look(images: np.ndarray, image_range: tuple[float, float], caption: str) -> str:
    picture = f'<img alt="{caption}" src="{data_uri(image_grid(images, image_range, scale=1))}">'
    return text.figure(picture, caption, kind="pixels")


def _learning(models: Models, drawn: Mapping[str, Mapping[str, charts.Draw]]) -> str:
    without = legend.absent("learning curves", "train", [model for model in models if not model.metrics])
    if not drawn["learning_curves"]:
        return without
    note = (
        '<p class="note">Pale: training batches. Dots: validation images. Axes fit the steps after the first tenth '
        "of training. The ELBO is without β and without free bits. Total correlation depends on its "
        "estimator. The minibatch-weighted one is off by the constant (D &minus; 1) log N, so only its changes "
        "count; the stratified one is not.</p>"
    )
    return legend.key(models) + charts.grid(drawn["learning_curves"], "learning") + note + without


def _settings(models: Models) -> str:
    names = list(dict.fromkeys(name for model in models for name in model.settings))
    rows = {name: [model.settings.get(name, text.ABSENT) for model in models] for name in names}
    differing = {name: values for name, values in rows.items() if len(set(values)) > 1}
    header = ["setting", *(legend.heading(index, model) for index, model in enumerate(models))]
    parts = []
    if differing:
        parts += ["<h3>Where the models differ</h3>", _words(header, differing)]
    parts += [f"<details><summary>All {len(rows)} settings</summary>{_words(header, rows)}</details>"]
    origins = dict.fromkeys(name for model in models for name in model.provenance)
    parts += [
        "<h3>Made with</h3>",
        _words(
            ["", *header[1:]], {name: [model.provenance.get(name, text.ABSENT) for model in models] for name in origins}
        ),
    ]
    return "".join(parts)


def _words(header: list[str], rows: Mapping[str, list[str]]) -> str:
    return text.table(
        header, ([escape(cell) for cell in (name, *values)] for name, values in rows.items()), kind="words"
    )
