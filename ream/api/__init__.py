"""ream from Python: the functions that the command line calls, with results in place of printed lines.

`import ream` has them as `ream.compress`, `ream.evaluate` and so on, and loads them with the first call. Wrong input
raises `ream.errors.UserError`, whose message is the line that the command line prints (docs/python.md).
"""

from ream.api.compressing import apply, compress, verify
from ream.api.describing import estimate, inspect
from ream.api.measuring import compare, evaluate
from ream.api.results import Comparison, Compressed, Estimated, Evaluation, Inspected, Verified

__all__ = [
    "Comparison",
    "Compressed",
    "Estimated",
    "Evaluation",
    "Inspected",
    "Verified",
    "apply",
    "compare",
    "compress",
    "estimate",
    "evaluate",
    "inspect",
    "verify",
]
