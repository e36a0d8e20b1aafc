"""Train, attack and certify variational autoencoders.

`import seatbelt_jax` alone imports no room: `seatbelt_jax.bounds` is imported when it is first used.
"""

# No imports: commands take hold of Ctrl-C after this file.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

__version__ = "0.1.0"

_ROOMS = (
    "attacks",
    "bounds",
    "concrete",
    "data",
    "elbo",
    "gaussian",
    "likelihood",
    "metrics",
    "models",
    "plots",
    "posterior",
    "results",
    "run",
    "runs",
    "total_correlation",
    "training",
    "vae",
)


def __getattr__(name: str) -> "ModuleType":
    """The room `name`, imported (PEP 562)."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its rooms: {', '.join(_ROOMS)}")
    import importlib

    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
