"""A plug-in outside the package adds one entry of each kind, and the commands use them; the table that says where."""

import csv
import importlib
import json
import pathlib
import re
import sys
import textwrap

import numpy as np
import pytest

from seatbelt_jax import attacks, bounds, data, models, plugins, runs, storage
from seatbelt_jax.jobs import evaluate
from seatbelt_jax.registry import Registry
from tests import launchers

# The registries of the table in CONTRIBUTING.md, by what a plug-in adds to each.
REGISTRIES = {
    "brightest": attacks.OBJECTIVES,
    "of_means": attacks.DIVERGENCES,
    "impatient": attacks.SOLVERS,
    "half": bounds.METHODS,
    "stripes": data.SOURCES,
    "linear": models.NETWORKS,
    "brightness": evaluate.MEASURES,
}

MODULE = """
    import dataclasses

    import flax.linen as nn
    import jax.numpy as jnp
    import numpy as np
    from jax.tree_util import Partial

    from seatbelt_jax import attacks, bounds, data, models
    from seatbelt_jax.jobs.evaluate import MEASURES


    def nothing(sources, targets):
        return jnp.zeros(len(sources))


    def darkness(vae, image, goal):
        return -vae.reconstruct(image[None]).mean()


    @attacks.OBJECTIVES.register("brightest")
    def brightest(vae):
        return attacks.Objective(nothing, Partial(darkness, vae), "brightest", "pixel units", targeted=False)


    distance = attacks.sum_over_layers(lambda q, p: jnp.abs(q.mean - p.mean).sum(axis=-1))
    attacks.DIVERGENCES.register("of_means", attacks.Divergence(distance, "latent units"))


    @attacks.SOLVERS.register("impatient")
    @dataclasses.dataclass(frozen=True)
    class Impatient(attacks.ProjectedGradient):
        maxiter: int = 2


    def half(evidence, question):
        claim = bounds.METHODS["spectral"].claim(evidence, question)
        return claim._replace(radius=0.5 * np.asarray(claim.radius))


    bounds.METHODS.register("half", bounds.Method(half, "first_order", ("The margin is half of another.",)))


    def stripes(asked):
        size = asked.settings.image_size

        def images(index):
            rows = jnp.sin(jnp.asarray(index)[:, None] + jnp.arange(size))
            return jnp.broadcast_to(rows[:, :, None, None], (len(rows), size, size, 1))

        everything = data.Dataset("stripes", 40, (size, size, 1), images, traceable=True)
        return data.Splits(train=everything, validation=dataclasses.replace(everything, size=10))


    data.SOURCES.register("stripes", data.Source(stripes, is_computed=True))


    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return nn.Dense(6)(images.reshape(len(images), -1))


    class Decoder(nn.Module):
        shape: tuple

        @nn.compact
        def __call__(self, latents, *, train):
            return nn.Dense(int(np.prod(self.shape)))(latents).reshape(-1, *self.shape)


    @models.NETWORKS.register("linear")
    def linear(settings, image_shape):
        return Encoder(), Decoder(tuple(image_shape))


    @MEASURES.register("brightness")
    def brightness(task):
        return {"mean": float(np.mean(task.vae.reconstruct(task.images.images(np.arange(5)))))}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a module as a package with an entry point would be, for the test alone."""
    before = [(registry, dict(registry)) for registry in REGISTRIES.values()]

    def installed(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{name} = {name}\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    for registry, entries in before:
        registry._entries = entries
    for module in ("additions", "broken"):
        sys.modules.pop(module, None)


def run(name, *arguments):
    with launchers.given(name, *arguments) as command:
        command.main()


@pytest.mark.slow
def test_commands_use_what_a_plugin_adds(install, tmp_path, capsys):
    install("additions", MODULE)
    path = tmp_path / "run"
    run(
        "train", "--config=configs/sprites_vae.py:smoke", "--config.data.name=stripes", "--config.data.image_size=8",
        "--config.model.network=linear", "--config.model.latent_sizes=(2,)", "--config.train.batch_size=10",
        f"--workdir={path}",
    )  # fmt: skip
    assert runs.open(path).config["model"]["network"] == "linear"
    assert "images of stripes" in capsys.readouterr().out

    quick = (f"--run={path}", "--pairs=2", "--penalties=3", "--exchanges=0")
    run("attack", *quick, "--attack=brightest", "--solver=impatient")
    run("attack", *quick, "--divergence=of_means", "--solver=impatient")
    for name in ("brightest_impatient", "latent_of_means_all_impatient"):
        found = storage.read_npz(path / "attacks" / f"{name}.npz")
        assert np.isfinite(found["objective"]).all() and found["iterations"].max() == 2

    run("certify", f"--run={path}", "--methods=spectral,half", "--radius=20", "--images=2", "--samples=50")
    with (path / "certificates" / "margins.csv").open() as file:
        radii = {
            (row["method"], row["image"]): float(row["certified_radius_pixel_units"]) for row in csv.DictReader(file)
        }
    assert radii["spectral", "0"] > 0.0
    assert radii["half", "0"] == pytest.approx(0.5 * radii["spectral", "0"])

    run("evaluate", f"--run={path}", "--measures=brightness")
    measured = json.loads((path / "evaluation.json").read_text())["measures"]
    assert np.isfinite(measured["brightness"]["mean"])


def test_a_plugin_that_cannot_be_imported_is_one_line(install):
    install("broken", "import no_such_package\n")
    line = launchers.refusal("evaluate", "--run=nowhere")
    assert "the plug-in broken (broken) cannot be imported: ModuleNotFoundError: No module named 'no_such_pack" in line


def test_a_name_is_taken_once():
    registry = Registry("a colour", {"red": 1})

    @registry.register("blue")
    def blue():
        return 2

    assert list(registry) == ["red", "blue"] and registry["blue"] is blue and len(registry) == 2
    with pytest.raises(ValueError, match="there is a colour 'red' already"):
        registry.register("red", 3)
    with pytest.raises(ValueError, match="letters, digits and underscores, got 'a/b'"):
        registry.register("a/b", 3)


def test_the_table_of_what_to_touch_names_what_there_is():
    """Each row: what is added, its file, and the registry (in the last rows, dictionary) that a line is added to."""
    root = pathlib.Path(__file__).parents[1]
    table = re.search(r"^\| to add \|.*\n\|[-|]+\n((?:\|.*\n)+)", (root / "CONTRIBUTING.md").read_text(), re.M)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[1].splitlines()]
    named = []
    for _, _, line, _ in rows:
        name, module = re.match(r"`(\w+)` in `(seatbelt_jax/[\w/]+)\.py`", line).groups()
        named.append(getattr(importlib.import_module(module.replace("/", ".").removesuffix(".__init__")), name))
    registries, others = named[: len(REGISTRIES)], named[len(REGISTRIES) :]
    assert {id(registry) for registry in registries} == {id(registry) for registry in REGISTRIES.values()}
    assert others and all(type(other) is dict for other in others)
    for place in re.findall(r"`(seatbelt_jax/[\w/.]+)`", " ".join(where for _, where, *_ in rows)):
        path = root / place
        assert path.exists() or (path.stem == "NAME" and path.parent.is_dir()), place
