"""How much calibration text the saliencies of a layer's experts rest on.

A saliency is a mean over the tokens routed to an expert. On the demo model the standard deviation of one token's gated
norm is about as large as its mean (0.7 to 1.2 times, median of each layer), so the mean over n tokens has a relative
standard error of about 1 / sqrt(n): a tenth with FEW_TOKENS. The saliencies of a layer's experts differ by 0.4 to 1.2
times their mean, so with a tenth of error their order is mostly settled, and with a third of it (ten tokens) it is not.
"""

import numpy as np
from jaxtyping import Float64

FEW_TOKENS = 100  # an expert with fewer routed tokens is called rarely routed


def rarely_routed(routed_tokens: Float64[np.ndarray, " N"]) -> float:
    """The share of a layer's experts to which fewer than FEW_TOKENS tokens were routed.

    Args:
        routed_tokens: number of calibration tokens routed to each expert.
    """
    return float((routed_tokens < FEW_TOKENS).mean())
