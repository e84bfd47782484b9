import numpy as np

from ream.calibration.packing import pad


def test_right_padding_by_hand():
    ids, mask = pad([[5, 6, 7], [8], [9, 0]], pad_id=99)
    assert ids.tolist() == [[5, 6, 7], [8, 99, 99], [9, 0, 99]]
    assert mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert ids.dtype == np.int64
    assert mask.dtype == np.bool_


def test_padding_is_told_by_the_mask_alone(rng):
    """Sequences that hold the padding id themselves come back whole."""
    sequences = [rng.integers(0, 3, size=length).tolist() for length in (1, 4, 7, 7, 2)]
    ids, mask = pad(sequences, pad_id=0)
    assert ids.shape == mask.shape == (5, 7)
    assert [row[real].tolist() for row, real in zip(ids, mask, strict=True)] == sequences


def test_equal_lengths_and_none():
    ids, mask = pad([[1, 2], [3, 4]], pad_id=0)
    assert ids.tolist() == [[1, 2], [3, 4]]
    assert mask.all()
    assert [array.shape for array in pad([], pad_id=0)] == [(0, 0), (0, 0)]
