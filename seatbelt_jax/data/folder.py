"""A folder of pictures, with or without a subfolder for each class, with or without one for each split."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from seatbelt_jax.data import picture_files
from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import hold_out
from seatbelt_jax.data.local_path import existing
from seatbelt_jax.data.picture_files import OnCorrupt

_TRAIN, _VALIDATION, _TEST = "train", ("validation", "valid", "val"), "test"


def load(path: str, fitting: Fitting, held_out: float, *, channels: int | None = None, on_corrupt: OnCorrupt) -> Splits:
    """Opens the PNG and JPEG files of a folder, in the order of their names.

    They lie in the folder itself, or in subfolders, one a class: these, in the order of their names, are labels 0, 1,
    and so on. Where the folder has a subfolder train and one of validation (valid, val) and test, each of these is such
    a folder, and the classes are those of train; anything beside them is not read. Otherwise, and where there is no
    part for validation, some of the training images are held out for it. A part may be without classes.

    Not read: other files, names that begin with a dot, and symbolic links that lead out of the folder.

    Args:
      path: of the folder.
      fitting: of the pictures, whose sizes may differ.
      held_out: the share of the training images kept for validation where the folder brings none.
      channels, on_corrupt: see `picture_files.survey`.

    Raises:
      FileNotFoundError: where there is no such folder.
      ValueError: where it holds no pictures; some in itself and some in subfolders; more than one part for validation,
        or parts of other names;
        grey pictures in one part and coloured ones in another; or classes in one that train has not; and as
        `picture_files.survey`.
    """
    root = existing(path, "folder")
    if not root.is_dir():
        raise ValueError(f"{path} is a file; folder: goes on with the path of a folder of pictures")
    parts = {entry.name: entry for entry in _entries(root, root.resolve()) if entry.is_dir()}
    named = [name for name in _VALIDATION if name in parts]
    if _TRAIN not in parts or not (named or _TEST in parts):
        if of_parts := [name for name in parts if name.lower() in (_TRAIN, *_VALIDATION, _TEST)]:
            # Taken for classes, they would put the pictures of all parts into training.
            raise ValueError(
                f"{path} has the subfolders {', '.join(sorted(parts))}: {', '.join(of_parts)} would be a part, not a "
                f"class; name them {_TRAIN}, {_VALIDATION[0]} and {_TEST}, {_TRAIN} and one other at least"
            )
        return hold_out(_part(f"folder:{path}", root, None, fitting, channels, on_corrupt)[0], held_out)
    if len(named) > 1:
        raise ValueError(f"{path} has the subfolders {' and '.join(named)}; one alone can be for validation")
    train, classes = _part(f"folder:{path}/{_TRAIN}", parts[_TRAIN], None, fitting, channels, on_corrupt)
    validation, test = (
        _part(f"folder:{path}/{name}", parts[name], classes, fitting, channels, on_corrupt)[0]
        if name in parts
        else None
        for name in ((named or [""])[0], _TEST)
    )
    for part in (validation, test):
        if part is not None and part.image_shape != train.image_shape:
            raise ValueError(
                f"pictures of {train.name} have {train.image_shape[-1]} channels and those of {part.name} "
                f"{part.image_shape[-1]}; say with data.channels=1 or data.channels=3 what all shall be"
            )
    if validation is None:
        held = hold_out(train, held_out)
        return Splits(held.train, held.validation, test)
    return Splits(train, validation, test)


def _part(
    name: str,
    root: pathlib.Path,
    classes: Sequence[str] | None,
    fitting: Fitting,
    channels: int | None,
    on_corrupt: OnCorrupt,
) -> tuple[Dataset, Sequence[str]]:
    """The pictures of one folder, and its classes; those of `train` where they are given."""
    paths, labels, classes = _pictures(root, classes)
    if not paths:
        raise ValueError(f"{root} holds no pictures: no file that ends in {', '.join(picture_files.SUFFIXES)}")
    found = picture_files.survey(paths, fitting, channels=channels, on_corrupt=on_corrupt)
    everything = picture_files.dataset(
        name,
        root,
        [paths[place] for place in found.kept],
        fitting,
        channels=found.channels,
        labels=None if labels is None else labels[found.kept],
    )
    return everything, classes


def _pictures(
    root: pathlib.Path, classes: Sequence[str] | None
) -> tuple[list[pathlib.Path], Int[np.ndarray, " size"] | None, Sequence[str]]:
    """Paths, their labels unless there are no subfolders, and the classes in the order of their numbers."""
    within = root.resolve()
    entries = list(_entries(root, within))
    beside = [entry for entry in entries if _is_picture(entry)]
    inside = {
        entry.name: pictures
        for entry in entries
        if entry.is_dir() and (pictures := [file for file in _entries(entry, within) if _is_picture(file)])
    }
    if beside and inside:
        raise ValueError(
            f"{root} holds pictures in itself ({beside[0].name}) and in subfolders ({next(iter(inside))}); "
            "it must be one or the other, because subfolders are classes"
        )
    if classes is None:
        classes = list(inside)
    elif unknown := set(inside) - set(classes):
        raise ValueError(f"{root} has classes that train has not: {', '.join(sorted(unknown))}")
    if beside:
        return beside, None, classes
    labels = [classes.index(name) for name, pictures in inside.items() for _ in pictures]
    return [path for pictures in inside.values() for path in pictures], np.array(labels, np.int32), classes


def _entries(folder: pathlib.Path, within: pathlib.Path) -> Iterator[pathlib.Path]:
    """What a folder holds, by name; nothing hidden, and no links that lead out of the folder `within`."""
    with os.scandir(folder) as entries:
        names = sorted((entry.name, entry.is_symlink()) for entry in entries if not entry.name.startswith("."))
    for name, is_link in names:
        entry = folder / name
        if not is_link or entry.resolve().is_relative_to(within):
            yield entry


def _is_picture(entry: pathlib.Path) -> bool:
    return entry.suffix.lower() in picture_files.SUFFIXES and entry.is_file()
