"""What a compression needs before anything runs: memory, disk, arithmetic, time.

Called, `ream.estimate(...)` is the function of the Python API (`ream.api.describing.estimate`).
"""

import sys

from ream.machine.callable_package import CallablePackage

sys.modules[__name__].__class__ = CallablePackage
