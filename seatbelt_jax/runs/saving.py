"""Makes a run of a model that the user trained."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from seatbelt_jax import data as data_sets
from seatbelt_jax import storage
from seatbelt_jax.runs import own_model
from seatbelt_jax.runs.checkpoint import Checkpoints
from seatbelt_jax.runs.layout import newest_step
from seatbelt_jax.runs.lock import locked
from seatbelt_jax.runs.preparing import configuration_changes, prepare
from seatbelt_jax.runs.run import Run, open
from seatbelt_jax.vae import VAE


def save(
    path: storage.Path,
    vae: VAE,
    *,
    build: Callable[..., VAE] | str,
    arguments: Mapping[str, Any] | None = None,
    data: Mapping[str, Any],
    step: int | None = None,
) -> Run:
    """Makes a run of a trained model, which the commands attack, certify, evaluate and report.

    The run holds the parameters of the model, and the name and the arguments of the function that builds it. Nothing is
    pickled. `seatbelt attack --run=PATH --allow=module:function` imports the function by its name.

    Args:
      path: of the run directory. The run of the same model takes the parameters as a further step.
      vae: the model, its parameters apart from its functions: `VAE.from_functions(..., params=params)` or `VAE.of`.
      build: the function that returns the model with parameters of any values, or its name, "module:function".
      arguments: by name, values that JSON has.
      data: a configuration's `data` section (`data.DataConfig`), such as {"name": "npz:faces.npz"}. The model's image
        size and channels are the default. Commands read the validation and the test part: no image that the model was
        trained on belongs there.
      step: number of training steps; by default one more than the newest in the run.

    Returns:
      The run, with permission to call `build`.

    Raises:
      ValueError: where the function builds another model, the path belongs to another run, the images do not fit the
        model, or the step is not newer than the newest.
      TypeError: where arguments are no values of JSON, or parameters no arrays.
      ImportError: where the function cannot be imported.
      OSError: where the run cannot be written.
    """
    name = own_model.name_of(build)
    try:
        arguments = storage.parse_json(json.dumps(dict(arguments or {}), allow_nan=False), "arguments")
    except (TypeError, ValueError) as error:
        raise TypeError(f"arguments must be values that JSON has: {error}") from error
    own_model.check_builds(name, arguments, vae)
    section = {"image_size": vae.image_shape[0], "channels": vae.image_shape[2], **data}
    found = data_sets.load(section, vae.likelihood.image_range)
    if found.train.image_shape != vae.image_shape:
        shapes = [" x ".join(map(str, shape)) for shape in (found.train.image_shape, vae.image_shape)]
        raise ValueError(f"the images of {found.train.name} are {shapes[0]} and those of the model {shapes[1]}")
    described = own_model.described(vae)
    shape = described.pop("image_shape")
    config = {"model": {"build": name, "arguments": arguments, **described}, "data": section}
    defaults = {"data": data_sets.DEFAULTS}
    is_begun = newest_step(pathlib.Path(path) / "checkpoints") is not None
    if is_begun and (changes := configuration_changes(open(path).config, config, defaults)):
        raise ValueError(f"{path} is the run of another model: {'; '.join(changes)}; give another path")
    opened = prepare(path, config, shape, found.record, defaults=defaults)
    with locked(opened.path), Checkpoints(opened.path / "checkpoints") as checkpoints:
        latest = checkpoints.latest_step
        step = (0 if latest is None else latest) + 1 if step is None else step
        if latest is not None and step <= latest:
            raise ValueError(f"{path} has step {latest} already: step must be larger, got {step}")
        checkpoints.save(step, variables=own_model.parameters(vae))
    return open(path, allow=[name])
