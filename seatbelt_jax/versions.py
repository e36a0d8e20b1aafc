"""Versions of installed packages, for provenance records."""

import importlib.metadata

NOT_INSTALLED = "not installed"


def installed(package: str) -> str:
    """The version of an installed package, "not installed" for one that pip does not know.

    A checkout that is found by PYTHONPATH alone is such a package.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED
