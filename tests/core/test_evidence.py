import numpy as np

from ream.core.evidence import FEW_TOKENS, rarely_routed


def test_experts_with_fewer_tokens_are_rarely_routed():
    assert rarely_routed(np.array([FEW_TOKENS, FEW_TOKENS - 1, 0.0, 5000.0])) == 0.5
    assert rarely_routed(np.full(3, float(FEW_TOKENS))) == 0


def test_the_mean_of_so_many_tokens_is_known_to_a_tenth(rng):
    """For norms whose standard deviation equals their mean, as on the demo model."""
    means = rng.exponential(size=(4000, FEW_TOKENS)).mean(axis=1)
    assert abs(means.std() - 0.1) < 0.005
