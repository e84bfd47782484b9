"""ream: smaller Mixture-of-Experts language models by merging their experts, without training.

From Python: `compress`, `apply`, `verify`, `evaluate`, `compare`, `estimate` and `inspect` (docs/python.md). The module
loads them with the first use, so that `import ream` takes no time; their types are in __init__.pyi.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Comparison", "Compressed", "Estimated", "Evaluation", "Inspected", "UserError", "Verified", "__version__",
    "apply", "compare", "compress", "estimate", "evaluate", "inspect", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """A function or result of the Python API, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'ream' has no attribute '{name}'")
    if name in ("compress", "estimate"):  # which are packages, too, and can be called
        return import_module(f"ream.{name}")
    return getattr(import_module("ream.errors" if name == "UserError" else "ream.api"), name)


def __dir__() -> list[str]:
    """The names of the Python API."""
    return sorted(__all__)
