"""A model of the user's own as a run: it comes back to the bit, the commands work on it, and nothing runs unasked."""

import json
import os
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seatbelt_jax import bounds, data, runs, storage
from seatbelt_jax.likelihood import GaussianLikelihood
from seatbelt_jax.runs import own_model
from seatbelt_jax.vae import VAE
from tests import launchers, own_models

DATA = {"name": "mock", "num_images": 60}
ALLOW = "tests.own_models:{}"
ATTACK = ("--pairs=2", "--penalties=3", "--iterations=5", "--exchanges=0")
CERTIFY = ("--images=3", "--samples=60", "--radius=4.0", "--nominimal_radius", "--nosound")


def save(path, kind, **options):
    return runs.save(path, getattr(own_models, kind)(seed=7), build=getattr(own_models, kind), data=DATA, **options)


def parts(vae, images):
    encoding = vae.encode(images, vae.sample_noise(jax.random.key(1), len(images)))
    return encoding, vae.decode(encoding.latents), vae.prior(encoding.latents)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    for kind in ("plain", "hierarchy"):
        save(folder / kind, kind)
    return folder


@pytest.mark.parametrize("kind", ["plain", "linen", "of_nnx", "hierarchy"])
def test_a_model_comes_back_to_the_bit(tmp_path, kind):
    vae = getattr(own_models, kind)(seed=7)
    opened = save(tmp_path / "run", kind)
    images = jax.random.uniform(jax.random.key(0), (4, *own_models.SHAPE))
    again = runs.open(tmp_path / "run", allow=[ALLOW.format(kind)])
    assert (opened.latest_step, again.image_range) == (1, vae.likelihood.image_range)
    for found in (opened.load_vae(), again.load_vae()):
        same = jax.tree.map(np.array_equal, parts(found, images), parts(vae, images))
        assert jax.tree.all(same) and found.likelihood == vae.likelihood
        # What is built has other parameters.
        assert not jax.tree.all(jax.tree.map(np.array_equal, found.params, getattr(own_models, kind)().params))


def test_arguments_come_back_as_json_has_them(tmp_path):
    arguments = {"width": 9, "latents": 3, "std": 0.25}
    opened = runs.save(
        tmp_path / "run", own_models.plain(**arguments), build="tests.own_models:plain", arguments=arguments, data=DATA
    )
    vae = opened.load_vae()
    assert vae.params["first"].shape == (9, 64) and vae.latent_sizes == (3,) and vae.likelihood.std == 0.25
    assert opened.kind == "tests.own_models:plain(width=9, latents=3, std=0.25), 3 latents"
    assert opened.config["data"] == {"image_size": 8, "channels": 1, **DATA}


@pytest.mark.parametrize("kind", ["plain", "hierarchy"])
def test_the_commands_work_on_it(saved, tmp_path, kind, capsys):
    path = shutil.copytree(saved / kind, tmp_path / kind)
    run = (f"--run={path}", f"--allow={ALLOW.format(kind)}")
    for command, options in {
        "attack": ATTACK,
        "certify": CERTIFY,
        "evaluate": ("--measures=elbo,active_units,weight_norms,traversals,importance_weighted", "--samples=5"),
    }.items():
        with launchers.given(command, *run, *options) as module:
            module.main()
    # Nothing of the model is run for these.
    with launchers.given("report", run[0]) as module:
        module.main()
    summary = str(runs.open(path).summary())
    assert "of an earlier step" not in summary and "none yet" not in summary
    vae = getattr(own_models, kind)(seed=7)
    arrays = storage.read_npz(path / "attacks" / "latent_kl_all.npz")
    images = arrays["sources"]
    np.testing.assert_allclose(arrays["source_reconstructions"], vae.reconstruct(jnp.asarray(images)), rtol=1e-5)
    record = storage.read_json(path / "evaluation.json")
    assert record["measures"].keys() == {"elbo", "active_units", "traversals", "importance_weighted"}
    assert "of your own" in record["skipped"]["weight_norms"]
    page = (path / "report.html").read_text()
    assert f"tests.own_models:{kind}()" in page and "none yet" not in page
    certificates = {file.stem for file in (path / "certificates").glob("*.npz")}
    assert certificates >= ({"camuto", "spectral"} if kind == "plain" else {"hierarchical"})
    assert all(np.all(storage.read_npz(file)["radius"] > 0.0) for file in (path / "certificates").glob("*.npz"))


def test_its_margins_are_those_of_its_two_functions(saved, tmp_path):
    path = shutil.copytree(saved / "plain", tmp_path / "plain")
    with launchers.given(
        "certify", f"--run={path}", f"--allow={ALLOW.format('plain')}", *CERTIFY[:-1], "--methods=spectral"
    ) as module:
        module.main()
    found = bounds.Certificate.from_arrays(storage.read_npz(path / "certificates" / "spectral.npz"))
    opened = runs.open(path, allow=[ALLOW.format("plain")])
    params = opened.load_vae().params
    images = storage.read_npz(path / "certificates" / "spectral.npz")
    assert np.all(found.radius > 0.0) and len(images["radius"]) == 3
    splits = data.load(opened.config["data"], (-1.0, 1.0))
    expected = bounds.certify(
        lambda image: own_models.plain_encode(params, image),
        lambda z: own_models.plain_decode(params, z),
        np.asarray(splits.validation.images(np.arange(3))),
        radius=4.0,
        key=jax.random.key(0),
        method="spectral",
        num_samples=60,
    )
    np.testing.assert_allclose(found.radius, expected.radius, rtol=1e-3)


def test_further_steps_of_the_model_are_further_checkpoints(tmp_path):
    save(tmp_path / "run", "plain", step=5)
    later = own_models.plain(seed=8)
    opened = runs.save(tmp_path / "run", later, build=own_models.plain, data=DATA)
    assert opened.latest_step == 6
    np.testing.assert_array_equal(opened.load_vae().params["first"], later.params["first"])
    np.testing.assert_array_equal(opened.load_vae(5).params["first"], own_models.plain(seed=7).params["first"])
    with pytest.raises(ValueError, match="has step 6 already: step must be larger, got 6"):
        save(tmp_path / "run", "plain", step=6)
    with pytest.raises(ValueError, match=r"another model: model.arguments.width was None and is 8; give another path"):
        runs.save(tmp_path / "run", own_models.plain(8), build=own_models.plain, arguments={"width": 8}, data=DATA)


@pytest.mark.parametrize("command", ["attack", "certify", "evaluate"])
@pytest.mark.parametrize("allowed", [(), ("--allow=tests.own_models:linen",), ("--allow=tests.own_models",)])
def test_no_code_runs_that_was_not_allowed(saved, command, allowed, monkeypatch):
    monkeypatch.delitem(sys.modules, "tests.own_models")
    line = launchers.refusal(command, f"--run={saved / 'plain'}", *allowed)
    assert "runs its code; if you trust it, give --allow=tests.own_models:plain" in line
    assert "tests.own_models" not in sys.modules
    assert not (saved / "plain" / command).exists()


def test_one_name_is_allowed_as_a_text_and_not_by_a_part_of_it(saved):
    runs.open(saved / "plain", allow=ALLOW.format("plain")).load_vae()
    with pytest.raises(ValueError, match="if you trust it"):
        runs.open(saved / "plain", allow=ALLOW.format("plainer")).load_vae()


def test_functions_of_the_package_are_no_exception(saved, tmp_path):
    path, target = shutil.copytree(saved / "plain", tmp_path / "run"), tmp_path / "target"
    target.write_text("precious")
    record = storage.read_json(path / "config.json")
    record["config"]["model"] |= {"build": "seatbelt_jax.storage:remove", "arguments": {"path": str(target)}}
    storage.write_json(path / "config.json", record)
    assert "give --allow=seatbelt_jax.storage:remove" in launchers.refusal("attack", f"--run={path}")
    assert target.read_text() == "precious"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"build": "tests.own_models:gone"}, "cannot be imported .*has no attribute 'gone'"),
        ({"build": "no_such_module:build"}, "cannot be imported .*No module named 'no_such_module'"),
        ({"build": "tests.own_models:NUMBER"}, "does not build a model of {}: 'int' object is not callable"),
        ({"build": "tests.own_models:nothing"}, "must return a seatbelt_jax.vae.VAE, got NoneType"),
        ({"build": "tests.own_models:fails"}, "does not build a model of {}: no such width"),
        ({"build": "os.system('ls')"}, "must be named as module:function"),
        ({"arguments": {"depth": 3}}, "does not build a model .*unexpected keyword argument 'depth'"),
        ({"arguments": {"latents": 3}}, r"builds another model: latent_sizes is \[3\], and in the model \[2\]"),
        ({"arguments": {"width": 7}}, r"of another architecture: params.first is \(6, 64\) in the checkpoint"),
        ({"arguments": 3}, "arguments must be a mapping, got 3"),
        ({"image_range": [0.0, 1.0]}, r"builds another model: image_range is \[-1.0, 1.0\]"),
        ({"image_range": ["dark"]}, "image_range must be"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_in_one_line(saved, tmp_path, change, words):
    path = shutil.copytree(saved / "plain", tmp_path / "run")
    record = storage.read_json(path / "config.json")
    record["config"]["model"] |= change
    storage.write_json(path / "config.json", record)
    build = record["config"]["model"]["build"]
    assert re.search(words, launchers.refusal("attack", f"--run={path}", f"--allow={build}"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"build": lambda: own_models.plain()}, ValueError, "must be a function at the top of a module"),
        ({"build": own_models.other}, ValueError, "builds another model: with the same parameters it encodes or"),
        ({"arguments": {"width": 7}}, ValueError, r"builds another model: params.first is float32\[7, 64\], and in"),
        ({"arguments": {"std": 0.2}}, ValueError, "builds another model: likelihood is Gaussian"),
        ({"arguments": {"width": np.ones(3)}}, TypeError, "arguments must be values that JSON has"),
        ({"arguments": {"std": float("nan")}}, TypeError, "arguments must be values that JSON has"),
        ({"build": "tests.own_models:other"}, ValueError, "builds another model: with the same parameters"),
        ({"data": {"name": "mock", "image_size": 16}}, ValueError, "images of mock are 16 x 16 x 1 and .* 8 x 8 x 1"),
        ({"data": {"name": "no_such:file"}}, ValueError, "unknown kind of data"),
        ({"vae": own_models.of_closures()}, ValueError, "no parameters apart from its functions"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, options, error, words):
    given = {"vae": own_models.plain(), "build": own_models.plain, "data": DATA} | options
    with pytest.raises(error, match=words):
        runs.save(tmp_path / "run", given.pop("vae"), **given)
    assert not (tmp_path / "run").exists()


def test_parameters_are_arrays_of_numbers_with_names_of_their_own():
    def vae(params):
        return VAE.of(own_models.hierarchy().functions, params, GaussianLikelihood(), (3, 2), own_models.SHAPE)

    assert own_model.parameters(vae([np.ones(2), {"a": jnp.ones(3)}])).keys() == {"params.0", "params.1.a"}
    for wrong in (0.5, "text", jax.random.key(0), np.array(["text"])):
        with pytest.raises(TypeError, match=r"params.a must be an array of numbers"):
            own_model.parameters(vae({"a": wrong}))
    with pytest.raises(ValueError, match="two parameters have the same name"):
        own_model.parameters(vae({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}))


def test_no_training_begins_with_it(saved, tmp_path):
    for kind in ("fork", "warm_start"):
        with pytest.raises(ValueError, match="is a model of your own"):
            runs.origin_of(tmp_path / "new", saved / "plain", kind)


def test_data_that_have_changed_are_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "mine.npz", x_train=images[:20], x_test=images[20:])
    mine = {"name": f"npz:{tmp_path / 'mine.npz'}"}
    opened = runs.save(tmp_path / "run", own_models.plain(), build=own_models.plain, data=mine)
    assert opened.data["test"]["size"] == 20
    run = (f"--run={opened.path}", f"--allow={ALLOW.format('plain')}", *ATTACK, "--split=test")
    with launchers.given("attack", *run) as module:
        module.main()
    np.savez(tmp_path / "mine.npz", x_train=images[20:], x_test=images[:20])
    assert "are not what they were" in launchers.refusal("attack", *run)
    assert json.loads((opened.path / "config.json").read_text())["config"]["model"]["arguments"] == {}


@pytest.mark.slow
def test_the_guide_is_a_journey_away_from_the_checkout(tmp_path):
    page = (launchers.ROOT / "docs" / "own_model.md").read_text()
    module, script = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "my_vae.py").write_text(module)
    (tmp_path / "save.py").write_text(script)
    commands = re.search(r"```bash\n(.*?)```", page, flags=re.DOTALL)[1].splitlines()
    seatbelt = [sys.executable, "-P", "-c", "from seatbelt_jax.cli.main import main; main()"]
    path = os.pathsep.join(filter(None, (str(launchers.ROOT), os.environ.get("PYTHONPATH"))))
    for command in ([sys.executable, "save.py"], *([*seatbelt, *line.split()[1:]] for line in commands)):
        ended = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True)
        assert ended.returncode == 0, ended.stderr.decode()
    assert len(commands) == 4 and "none yet" not in str(runs.open(tmp_path / "runs" / "mine").summary())
