"""Decisions about each layer: what is measured, which experts are kept, how they are merged and refitted.

Called, `ream.compress(...)` is the function of the Python API (`ream.api.compressing.compress`).
"""

import sys

from ream.machine.callable_package import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
