"""Options and configuration sections take what they declare, and refuse all else in one line that names the field.

Every field of every one meets every hostile value: from Python, and as a flag.
"""

import contextlib
import dataclasses
import io
import math
import typing

import pytest

from seatbelt_jax.cli import flags as command_flags
from seatbelt_jax.data.sources import DataConfig
from seatbelt_jax.errors import EXPECTED
from seatbelt_jax.jobs import attack, certify, evaluate
from seatbelt_jax.models.build import ModelConfig
from seatbelt_jax.options import meanings
from seatbelt_jax.training.density_ratio import DiscriminatorConfig
from seatbelt_jax.training.objective import ObjectiveConfig
from seatbelt_jax.training.settings import OptimizerConfig, TrainConfig
from tests.launchers import given

OPTIONS = {"attack": attack.Options, "certify": certify.Options, "evaluate": evaluate.Options}
SECTIONS = {
    DataConfig: {"name": "mock"},
    ModelConfig: {"latent_sizes": (2,)},
    ObjectiveConfig: {},
    OptimizerConfig: {},
    TrainConfig: {"steps": 1, "batch_size": 1},
    DiscriminatorConfig: {},
}
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 10**9, -(10**9), 2**31, 10**400, 0.5, -0.5, 1e-300, 1e308),
    *(math.nan, math.inf, -math.inf, 1j, "", " ", "x", "l7", "nan", "\0", "../..", "a\nb", "é" * 300, b"x"),
    *((), [], {}, {1}, (True,), [-1], (0.5, "x"), (math.nan,), [[1]], ("x",) * 3, object(), int, len),
)
TEXTS = (
    *("", " ", "x", "-1", "0", "1", "3", "0.5", "-0.5", "1e400", "nan", "inf", "-inf", "1_0", "0x10", "1" * 400),
    *("None", "True", "[1]", "1,2", "1,,2", ",", "x,1", "l7", "../..", "a\nb", "é", "٣", "{}", "--run", "%s", "'", '"'),
)
# What a field of each type may hold; a list may stand for a tuple, a whole number for a float.
HELD = {int: int, float: (int, float), bool: bool, str: str, tuple: (tuple, list)}


def holds(hint, value):
    kinds = [typing.get_origin(kind) or kind for kind in (typing.get_args(hint) or (hint,))]
    if typing.get_origin(hint) in (tuple, typing.Literal):
        kinds = [typing.get_origin(hint)]
    if typing.Literal in kinds:
        return isinstance(value, str)
    return any(
        (kind is type(None) and value is None)
        or (kind in HELD and isinstance(value, HELD[kind]) and (kind is bool or not isinstance(value, bool)))
        for kind in kinds
    )


def fields_of():
    for kind, needed in [*((kind, {}) for kind in OPTIONS.values()), *SECTIONS.items()]:
        for field in dataclasses.fields(kind):
            yield pytest.param(kind, needed, field.name, id=f"{kind.__module__.split('.')[-1]}.{field.name}")


@pytest.mark.parametrize(("kind", "needed", "name"), list(fields_of()))
def test_a_field_takes_what_it_declares_and_names_itself_otherwise(kind, needed, name):
    hint, taken = typing.get_type_hints(kind)[name], 0
    for value in VALUES:
        try:
            made = kind(**{**needed, name: value})
        except ValueError as error:
            line = str(error)
            assert name.split("_")[0] in line and "\n" not in line and len(line) < 2_000, (value, line)
        else:
            taken += 1
            assert holds(hint, getattr(made, name)), (value, hint)
            numbers = value if isinstance(value, tuple | list) else (value,)
            assert all(math.isfinite(number) for number in numbers if isinstance(number, float)), value
    assert taken < len(VALUES)


@pytest.mark.parametrize("command", OPTIONS)
def test_a_flag_becomes_an_option_or_one_line(command):
    kind = OPTIONS[command]
    for name in meanings(kind):
        for text in TEXTS:
            errors, line = io.StringIO(), ""
            try:
                with contextlib.redirect_stderr(errors), given(command, "--run=x", f"--{name}={text}"):
                    made = kind(**command_flags.given(kind))
            except EXPECTED as error:
                line = str(error)
            except SystemExit as ended:
                line = errors.getvalue().strip()
                assert ended.code == 1, (name, text)
            else:
                assert holds(typing.get_type_hints(kind)[name], getattr(made, name)), (name, text)
                continue
            assert line and "Traceback" not in line and "\n" not in line, (name, text, line)
