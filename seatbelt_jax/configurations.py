"""Where configurations are: files that a user names, and those that come with the project.

A checkout has them in configs/, an installed package beside its modules.
"""

import difflib
import importlib.util
import pathlib
import sys
from typing import Any

_PACKAGE = pathlib.Path(__file__).parent
# The wheel carries the folder inside of the package.
_BUNDLED = _PACKAGE / "_bundled"
FOLDER = (_BUNDLED if _BUNDLED.is_dir() else _PACKAGE.parent) / "configs"
SWEEPS = FOLDER / "sweeps"


def make_importable() -> None:
    """Lets configurations import what they share, as `configs._base`."""
    if (place := str(FOLDER.parent)) not in sys.path:
        sys.path.insert(0, place)


def find(given: str, folder: pathlib.Path = FOLDER) -> str:
    """The path of a configuration, with its variant.

    Args:
      given: a path or, for one that comes with the project, its name; with :VARIANT if it has variants.
      folder: of those that come with the project.

    Raises:
      FileNotFoundError: names those that exist.
    """
    name, colon, variant = given.partition(":")
    path = pathlib.Path(name)
    # Files that begin with an underscore are parts of configurations.
    if path.is_file() and not path.stem.startswith("_"):
        return given
    own = folder / f"{name}.py"
    if path.name == name and own.is_file() and not name.startswith("_"):
        return f"{own}{colon}{variant}"
    near_files = sorted(map(str, path.parent.glob("[!_]*.py"))) if path.suffix == ".py" else []
    known = {file.stem: file.stem for file in _known(folder)} | {pathlib.Path(file).stem: file for file in near_files}
    near = [known[stem] for stem in difflib.get_close_matches(path.stem, known, n=1)]
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(dict.fromkeys(known.values()))}"
    raise FileNotFoundError(f"there is no configuration {given or 'of that name'}; {hint}")


def load(name: str, variant: str = "") -> Any:
    """A configuration that comes with the project, as an `ml_collections.ConfigDict`."""
    make_importable()
    spec = importlib.util.spec_from_file_location(f"configs.{name}", find(name))
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def _known(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("[!_]*.py"))
