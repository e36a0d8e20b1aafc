"""A folder of pictures, with or without a subfolder for each class, with or without one for each split."""

import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from seatbelt_jax.data import other_formats, picture_files
from seatbelt_jax.data.dataset import Dataset, Splits
from seatbelt_jax.data.fitting import Fitting
from seatbelt_jax.data.held_out import hold_out, in_parts
from seatbelt_jax.data.inside import Inside
from seatbelt_jax.data.local_path import existing, printable
from seatbelt_jax.data.picture_files import OnCorrupt

_NAMED = 3
_TRAIN, _VALIDATION, _TEST = "train", ("validation", "valid", "val"), "test"


def load(path: str, fitting: Fitting, held_out: float, *, channels: int | None = None, on_corrupt: OnCorrupt) -> Splits:
    """Opens the picture files of a folder (`picture_files.SUFFIXES`), in the order of their names.

    They lie in the folder itself, or in subfolders, one a class: these, in the order of their names, are labels 0, 1,
    and so on. Where the folder has a subfolder train and one of validation (valid, val) and test, each of these is such
    a folder, and the classes are those of train; anything beside them is not read. Otherwise, and where there is no
    part for validation, some of the training images are held out for it. A part may be without classes.

    Not read: other files, names that begin with a dot; and, with a warning that counts them, pictures in subfolders of
    subfolders, files that look like pictures of formats that are not read, what has the name of a picture and is no
    regular file, and symbolic links that lead out of the folder.

    Args:
      path: of the folder.
      fitting: of the pictures, whose sizes may differ.
      held_out: the share of the training images kept for validation where the folder brings none.
      channels, on_corrupt: see `picture_files.survey`.

    Raises:
      FileNotFoundError: where there is no such folder.
      ValueError: where it holds no pictures; some in itself and some in subfolders; more than one part for validation,
        or parts of other names; grey pictures in one part and coloured ones in another; or classes in one that train
        has not; and as `picture_files.survey`.
    """
    root = existing(path, "folder", "folder")
    if not root.is_dir():
        raise ValueError(f"{printable(path)} is a file; folder: goes on with the path of a folder of pictures")
    inside = Inside(root)
    try:
        return _splits(path, inside, fitting, held_out, channels, on_corrupt)
    finally:
        inside.warn_of_links()


def _splits(
    path: str, inside: Inside, fitting: Fitting, held_out: float, channels: int | None, on_corrupt: OnCorrupt
) -> Splits:
    root, path = inside.root, printable(path)
    parts = {entry.name: entry for entry in inside.entries(root) if entry.is_dir()}
    named = [name for name in _VALIDATION if name in parts]
    if _TRAIN not in parts or not (named or _TEST in parts):
        if of_parts := [name for name in parts if name.lower() in (_TRAIN, *_VALIDATION, _TEST)]:
            # Taken for classes, they would put the pictures of all parts into training.
            raise ValueError(
                f"{path} has the subfolders {printable(', '.join(sorted(parts)))}: {', '.join(of_parts)} would be "
                f"a part, not a class; name them {_TRAIN}, {_VALIDATION[0]} and {_TEST}, {_TRAIN} and one other at "
                "least"
            )
        return hold_out(_part(f"folder:{path}", root, inside, None, fitting, channels, on_corrupt)[0], held_out)
    if len(named) > 1:
        raise ValueError(f"{path} has the subfolders {' and '.join(named)}; one alone can be for validation")
    train, classes = _part(f"folder:{path}/{_TRAIN}", parts[_TRAIN], inside, None, fitting, channels, on_corrupt)
    validation, test = (
        _part(f"folder:{path}/{name}", parts[name], inside, classes, fitting, channels, on_corrupt)[0]
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
    return in_parts(train, validation, test, held_out)


def _part(
    name: str,
    root: pathlib.Path,
    inside: Inside,
    classes: Sequence[str] | None,
    fitting: Fitting,
    channels: int | None,
    on_corrupt: OnCorrupt,
) -> tuple[Dataset, Sequence[str]]:
    """The pictures of one folder, and its classes; those of `train` where they are given."""
    paths, labels, classes = _pictures(root, inside, classes)
    left_out = []
    if deeper := _deeper(root):
        place = printable(deeper[0])
        left_out.append(
            f"{len(deeper)} lie deeper than in one subfolder for each class, as {place}; move them, or open a folder "
            "further down"
        )
    if unread := _unread(root, inside):
        named = ", ".join(printable(file.relative_to(root)) for file in unread[:_NAMED])
        left_out.append(
            f"{len(unread)} ({named}{', ...' if len(unread) > _NAMED else ''}) are no regular file or not named as one "
            f"of {', '.join(picture_files.SUFFIXES)}; convert or rename them"
        )
    if not paths:
        reason = "; ".join(left_out) or f"no file that ends in {', '.join(picture_files.SUFFIXES)}"
        raise ValueError(f"{printable(root)} holds no pictures: {reason}")
    for reason in left_out:
        warnings.warn(f"{printable(root)}: left out pictures: {reason}", stacklevel=2)
    found = picture_files.survey(paths, fitting, channels=channels, on_corrupt=on_corrupt)
    everything = picture_files.dataset(
        name,
        root,
        [paths[place] for place in found.kept],
        fitting,
        channels=found.channels,
        labels=None if labels is None else labels[found.kept],
        orientations=found.orientations,
    )
    return everything, classes


def _pictures(
    root: pathlib.Path, inside: Inside, classes: Sequence[str] | None
) -> tuple[list[pathlib.Path], Int[np.ndarray, " size"] | None, Sequence[str]]:
    """Paths, their labels unless there are no subfolders, and the classes in the order of their numbers."""
    entries = inside.entries(root)
    beside = [entry for entry in entries if _is_picture(entry)]
    of_class = {
        entry.name: pictures
        for entry in entries
        if entry.is_dir() and (pictures := [file for file in inside.entries(entry) if _is_picture(file)])
    }
    if beside and of_class:
        raise ValueError(
            f"{printable(root)} holds pictures in itself ({printable(beside[0].name)}) and in subfolders "
            f"({printable(next(iter(of_class)))}); "
            "it must be one or the other, because subfolders are classes"
        )
    if classes is None:
        classes = list(of_class)
    elif unknown := set(of_class) - set(classes):
        raise ValueError(f"{printable(root)} has classes that train has not: {printable(', '.join(sorted(unknown)))}")
    if beside:
        return beside, None, classes
    labels = [classes.index(name) for name, pictures in of_class.items() for _ in pictures]
    return [path for pictures in of_class.values() for path in pictures], np.array(labels, np.int32), classes


def _deeper(root: pathlib.Path) -> list[pathlib.Path]:
    """Pictures in subfolders of subfolders, and further down; no links are followed."""
    found: list[pathlib.Path] = []
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = pathlib.Path(where)
        if len(folder.relative_to(root).parts) >= 2:
            files = (folder / name for name in sorted(names) if not name.startswith("."))
            found += [file for file in files if _is_picture(file)]
    return found


def _unread(root: pathlib.Path, inside: Inside) -> list[pathlib.Path]:
    """What looks like a picture and is not read, in the folder and in its subfolders."""
    entries = inside.entries(root)
    of_folders = [file for entry in entries if entry.is_dir() for file in inside.entries(entry)]
    return [file for file in (*entries, *of_folders) if _is_unread(file)]


def _is_unread(entry: pathlib.Path) -> bool:
    if entry.suffix.lower() in picture_files.SUFFIXES:
        return not entry.is_file() and not entry.is_dir()
    return other_formats.looks_like_picture(entry)


def _is_picture(entry: pathlib.Path) -> bool:
    return entry.suffix.lower() in picture_files.SUFFIXES and entry.is_file()
