"""The order of the fit's passes: every fitted token once, in runs, the same on any number of ranks."""

import pytest
import torch

from ream.compress.held_out import HeldOutSequences
from ream.compress.shuffle import RUN, Shuffle, steps_of

LENGTH, HELD = 75, [False, True, False, False, False, True, False]


def counted():
    """Sequences of different lengths."""
    return torch.arange(LENGTH)[None] < torch.tensor([75, 75, 40, 1, 75, 75, 64])[:, None]


def shuffle_of(rows, tokens=60_000):
    held_out = HeldOutSequences(torch.tensor(HELD), torch.zeros(len(HELD), dtype=torch.int64), 1)
    held_out = held_out.rows(rows) if rows != slice(None) else held_out
    return Shuffle(held_out.fitted(), counted()[rows], held_out.first, tokens)


def test_a_pass_has_every_fitted_token_once_in_runs():
    shuffle = shuffle_of(slice(None))
    batches = list(shuffle.batches(0))
    places = torch.cat(batches)
    fitted = counted() & ~torch.tensor(HELD)[:, None]
    assert sorted(places.tolist()) == fitted.flatten().nonzero()[:, 0].tolist()
    assert len(batches) == shuffle.steps == 29
    within = (places[1:] == places[:-1] + 1).sum()
    assert within >= len(places) - fitted.float().sum(1).div(RUN).ceil().sum()
    other = torch.cat(list(shuffle.batches(1)))
    assert other.tolist() != places.tolist()
    assert torch.equal(torch.cat(list(shuffle.batches(0))), places)


def test_ranks_together_have_the_batches_of_one_process():
    ranks = [slice(0, 2), slice(2, 3), slice(3, 7)]
    together = [list(shuffle_of(rows).batches(5)) for rows in ranks]
    for number, batch in enumerate(shuffle_of(slice(None)).batches(5)):
        found = [together[rank][number] + rows.start * LENGTH for rank, rows in enumerate(ranks)]
        assert sorted(torch.cat(found).tolist()) == sorted(batch.tolist())


@pytest.mark.parametrize(
    ("tokens", "steps"), [(0, 1), (100, 1), (2048, 1), (16_000, 8), (196_608, 96), (1_572_864, 96)]
)  # fmt: skip
def test_steps_are_96_or_have_at_least_about_2048_tokens(tokens, steps):
    assert steps_of(tokens) == steps
