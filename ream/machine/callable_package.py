"""Packages of ream that are functions, too: `ream.compress` and `ream.estimate` are rooms and names of the Python API.

Python binds an imported package to its name in the package above it, so one of the two would hide the other, depending
on what was imported first. A package of this class is both.
"""

from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package whose call is that of the function of its name in ``ream.api``, which the first call imports."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._function()(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        """The function's, for `help` and notebooks."""
        return signature(self._function())

    def _function(self) -> Any:
        return getattr(import_module("ream.api"), self.__name__.rpartition(".")[2])
