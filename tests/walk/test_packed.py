"""Sequences of different lengths through all layers, against the whole model, with and without a kill."""

import pytest
import torch

from ream.models.head import Head
from ream.recipe.apply import compressed_layers
from ream.recipe.load import load_model
from ream.walk.packed import Packed, Unsaved, walk_packed
from ream.walk.state import WalkState
from tests.compress.walks import Quiet, decoder_of, opened, random_recipe
from tests.subsets import some_slow
from tests.tiny import VOCABULARY

LENGTHS = (3, 31, 1, 12, 31, 5, 2, 12, 1)


@pytest.fixture
def sequences(rng):
    return [rng.integers(VOCABULARY, size=length).tolist() for length in LENGTHS]


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def test_a_stream_is_cut_into_sequences_of_about_one_length():
    packed = Packed([[1], [2, 3, 4], [5], [6, 7], [8, 9, 10]], batch_tokens=4)
    assert packed.ids.tolist() == [2, 3, 4, 8, 9, 10, 6, 7, 1, 5]
    assert packed.starts == {1: 0, 4: 3, 3: 6, 0: 8, 2: 9}
    batches = list(packed.batches())
    assert [batch.tokens for batch in batches] == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    assert batches[2].padded.tolist() == [[0, 1], [2, 2]], "the second row repeats its only token"
    assert batches[2].real.tolist() == [0, 1, 2]
    assert len(packed) == 4


@pytest.mark.parametrize("batch_tokens", some_slow([1, 40, 10_000], keep=[40]))
@pytest.mark.parametrize("memory", [1e9, 0])
def test_logits_are_those_of_each_sequence_by_itself(mixed_depth, sequences, tmp_path, batch_tokens, memory):
    checkpoint, architecture = opened(mixed_depth)
    decoder, packed, progress = decoder_of(mixed_depth), Packed(sequences, batch_tokens), Quiet()
    recipe = random_recipe(architecture, 4)
    head = Head(decoder)
    for each in (None, recipe):
        blocks = None if each is None else compressed_layers(checkpoint, architecture, each)
        hidden = walk_packed(decoder, packed, blocks, Unsaved(tmp_path, memory), progress)
        model = load_model(checkpoint, architecture, each, torch.device("cpu"), torch.float32)
        for number, ids in enumerate(sequences):
            found = head(hidden[packed.starts[number] : packed.starts[number] + len(ids)])
            torch.testing.assert_close(found, logits_of(model, ids), rtol=1e-4, atol=1e-4)
    assert progress.done == 2 * 3 * len(packed)
    assert bool(list(tmp_path.glob("*.map"))) == (memory == 0)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("memory", [1e9, 0])
@pytest.mark.parametrize("layers", some_slow([1, 2, 3], keep=[2]))
def test_a_killed_walk_goes_on_after_its_last_layer_and_ends_with_the_same_bytes(
    mixed_depth, sequences, tmp_path, memory, layers
):
    decoder, packed = decoder_of(mixed_depth), Packed(sequences, 40)
    expected = walk_packed(decoder, packed, None, Unsaved(tmp_path, 1e9), Quiet())

    class Killing(Quiet):
        def update(self, n):
            self.done += n
            if self.done == layers * len(packed) + 1 and layers < 3:
                raise KilledError

    try:
        with WalkState(tmp_path / "state", "same", discard_stale=False, memory=memory) as state:
            walk_packed(decoder, packed, None, state, Killing())
    except KilledError:
        pass
    progress = Quiet()
    with WalkState(tmp_path / "state", "same", discard_stale=False, memory=memory) as state:
        assert state.next_layer == layers
        hidden = walk_packed(decoder_of(mixed_depth), packed, None, state, progress)
        assert torch.equal(hidden, expected)
    assert progress.done == 3 * len(packed)
