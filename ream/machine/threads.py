"""The number of CPU threads of this process: torch's, and those of numpy's and scipy's linear algebra."""

import scipy.linalg  # noqa: F401 - scipy's own OpenBLAS is loaded with it, and only what is loaded can be limited
import torch
from threadpoolctl import threadpool_limits


def set_threads(number: int) -> None:
    """Let this process compute with so many threads.

    torch has threads of its own. numpy and scipy each have an OpenBLAS, which takes all cores unless it is told
    otherwise: products of small matrices gain nothing by that, and their threads take the cores of other processes.

    Args:
        number: of threads, at least 1.
    """
    torch.set_num_threads(number)
    threadpool_limits(number, user_api="blas")
