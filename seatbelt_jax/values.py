"""Checked records as pytrees: checks run where users make them, not where JAX takes them apart and joins them."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax

Record = TypeVar("Record")


def register(*arrays: str) -> Callable[[type[Record]], type[Record]]:
    """Registers a dataclass as a pytree of some of its fields; the others are static, hashable settings.

    Unlike `jax.tree_util.register_dataclass`, it joins a record from its leaves without `__post_init__`: there a leaf
    may be a tracer, a shape or a mere place.

    Args:
      *arrays: the names of the fields that hold arrays.
    """

    def decorate(cls: type[Record]) -> type[Record]:
        static = tuple(field.name for field in dataclasses.fields(cls) if field.name not in arrays)  # type: ignore[arg-type]

        def flatten(record: Record) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            children = tuple((jax.tree_util.GetAttrKey(name), getattr(record, name)) for name in arrays)
            return children, tuple(getattr(record, name) for name in static)

        def unflatten(settings: tuple[Any, ...], children: Iterable[Any]) -> Record:
            record = object.__new__(cls)
            for name, value in zip((*static, *arrays), (*settings, *children), strict=True):
                object.__setattr__(record, name, value)
            return record

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
        return cls

    return decorate
