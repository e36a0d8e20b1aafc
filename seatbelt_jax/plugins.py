"""Plug-ins: installed packages that register entries of their own (`registry`).

A package names the module that registers them as an entry point:

    [project.entry-points."seatbelt_jax.plugins"]
    my_attacks = "my_package.attacks"

Commands import these modules before they read their flags. Python code imports what it needs, or calls `load`.
"""

import importlib.metadata

GROUP = "seatbelt_jax.plugins"


def load() -> tuple[str, ...]:
    """Imports all plug-ins; returns their names.

    Raises:
      ValueError: one line that names a plug-in that cannot be imported, and why.
    """
    found = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    for point in found:
        try:
            point.load()
        except Exception as error:  # a plug-in is a program: it can raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"the plug-in {point.name} ({point.value}) cannot be imported: {reason}; repair it, or uninstall its "
                "package"
            ) from error
    return tuple(point.name for point in found)
