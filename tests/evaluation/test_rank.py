import math

import numpy as np
import pytest
import torch

from ream.evaluation.rank import EPSILON, RankMean, effective_rank, numerical_rank, singular_values


def with_values(values, tokens, width, seed=0):
    """A matrix [tokens, width] of these singular values."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(tokens, len(values), generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(width, len(values), generator=generator, dtype=torch.float64))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def ranks(states, epsilon=EPSILON):
    values = singular_values(states)
    return numerical_rank(values, max(states.shape), epsilon), effective_rank(values)


def test_ranks_by_hand():
    # diag(3, 1, 0): two values, p = (3/4, 1/4), entropy 0.75 ln(4/3) + 0.25 ln 4 = 0.5623, exp = 1.7548
    states = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    numerical, effective = ranks(states)
    assert (numerical, effective) == (2, pytest.approx(1.7548, abs=1e-4))


@pytest.mark.parametrize(("tokens", "width"), [(12, 30), (30, 12), (7, 7)])
def test_known_singular_values(tokens, width):
    values = [8.0, 4.0, 2.0, 1.0, 1.0]
    numerical, effective = ranks(with_values(values, tokens, width))
    p = [value / 16 for value in values]
    assert numerical == 5
    assert effective == pytest.approx(math.exp(-sum(share * math.log(share) for share in p)))


def test_equal_values_have_their_number_as_effective_rank():
    assert ranks(torch.eye(6))[1] == pytest.approx(6)
    assert ranks(torch.outer(torch.arange(1.0, 5), torch.arange(1.0, 8))) == (1, pytest.approx(1, abs=1e-6))


def test_nothing_has_no_rank():
    assert ranks(torch.zeros(4, 3)) == (0, 0.0)


def test_the_tolerance_is_relative_to_the_largest_value_and_the_longer_side():
    # 20 · epsilon · 5: a value just above it counts, one just below does not
    for factor, expected in ((1.01, 2), (0.99, 1)):
        states = with_values([5.0, factor * 20 * 1e-6 * 5], 20, 10)
        assert ranks(states, epsilon=1e-6)[0] == expected
        assert ranks(states * 1000, epsilon=1e-6)[0] == expected


def test_float32_matrices_have_torchs_and_numpys_rank(rng):
    low = torch.from_numpy(rng.normal(size=(40, 9)) @ rng.normal(size=(9, 25))).float()
    assert ranks(low)[0] == torch.linalg.matrix_rank(low).item() == np.linalg.matrix_rank(low.numpy()) == 9


def test_narrow_dtypes_are_taken():
    assert ranks(torch.eye(5, dtype=torch.bfloat16)) == (5, pytest.approx(5))


def test_the_mean_over_sequences_of_any_length():
    states = [with_values([1.0] * rank, tokens, 16, seed=rank) for rank, tokens in ((2, 10), (5, 20), (8, 8))]
    mean = RankMean()
    for sequence in states:
        mean.update(sequence)
    result = mean.result()
    # ranks 2, 5, 8: mean 5, standard deviation 3, of the mean 3 / sqrt 3; could have been 10, 16, 8
    assert (result.numerical, result.sequences, result.largest) == (5, 3, pytest.approx(34 / 3))
    assert result.numerical_stderr == pytest.approx(math.sqrt(3))
    assert (result.effective, result.effective_stderr) == pytest.approx((5, math.sqrt(3)))


def test_one_sequence_has_no_standard_error():
    mean = RankMean()
    mean.update(torch.eye(3))
    assert (mean.result().numerical, mean.result().numerical_stderr, mean.result().effective_stderr) == (3, None, None)


def test_equal_sequences_have_no_spread(rng):
    mean = RankMean()
    states = torch.from_numpy(rng.normal(size=(6, 9)))
    for _ in range(7):
        mean.update(states)
    assert mean.result().numerical_stderr == 0
    assert mean.result().effective_stderr == pytest.approx(0, abs=1e-6)


def test_what_has_no_rank_is_refused():
    with pytest.raises(ValueError, match="without tokens"):
        RankMean().update(torch.zeros(0, 4))
    with pytest.raises(ValueError, match="not finite"):
        RankMean().update(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="no sequence"):
        RankMean().result()
