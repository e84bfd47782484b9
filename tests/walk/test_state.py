"""The state of a walk: what is committed stays, the rest is done again, and nobody else uses the folder meanwhile."""

import pytest
import torch

from ream.compress.one_shot import collect
from ream.walk.state import WalkState, fingerprint
from tests.compress.walks import Quiet, decoder_of, pieces
from tests.models.storage.test_checkpoint import refused
from tests.tiny import files

HIDDEN = torch.arange(6.0).reshape(1, 2, 3)


def test_commit_and_go_on(tmp_path):
    with WalkState(tmp_path / "s", "x", False) as state:
        assert state.next_layer == 0
        state.commit(0, {"a": torch.ones(2)}, HIDDEN, last=False)
        state.commit(1, None, HIDDEN + 1, last=False)
    with WalkState(tmp_path / "s", "x", False) as state:
        assert state.next_layer == 2
        assert torch.equal(state.hidden(), HIDDEN + 1)
        assert torch.equal(state.layer(0)["a"], torch.ones(2))
        assert sorted(path.name for path in state.folder.glob("hidden*")) == ["hidden-002.safetensors"]
        state.commit(2, None, HIDDEN, last=True)
        assert not list(state.folder.glob("hidden*"))
        state.clear()
    assert not (tmp_path / "s").exists()


def test_other_settings_are_refused_or_start_anew(tmp_path):
    with WalkState(tmp_path / "s", "x", False) as state:
        state.commit(0, None, HIDDEN, last=False)
    refused(lambda: WalkState(tmp_path / "s", "y", False), str(tmp_path / "s"), "other settings")
    with WalkState(tmp_path / "s", "x", False) as state:
        assert state.next_layer == 1
    with WalkState(tmp_path / "s", "y", True) as state:
        assert state.next_layer == 0
    with WalkState(tmp_path / "s", "y", False) as state:
        assert state.next_layer == 0


def test_a_refusal_names_the_fact_that_differs(tmp_path):
    with WalkState(tmp_path / "s", "x", False, {"probes": 8, "model": "m"}) as state:
        state.commit(0, None, HIDDEN, last=False)
    refused(lambda: WalkState(tmp_path / "s", "y", False, {"probes": 9, "model": "m"}), "probes was 8 and is 9 now")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    with WalkState(tmp_path / "s", "x", False) as state:
        state.commit(0, None, HIDDEN, last=False)
    (tmp_path / "s" / ".hidden-002.safetensors.1234.tmp").write_bytes(b"half")
    with WalkState(tmp_path / "s", "x", False) as state:
        assert sorted(path.name for path in state.folder.iterdir()) == [
            "hidden-001.safetensors", "lock", "progress.json"
        ]  # fmt: skip


def test_a_folder_in_use_is_refused(tmp_path):
    with WalkState(tmp_path / "s", "x", False):
        refused(lambda: WalkState(tmp_path / "s", "x", False), str(tmp_path / "s"), "in use by another run")
    with WalkState(tmp_path / "s", "x", False) as state:
        assert state.next_layer == 0


def test_fingerprint_sees_values_and_not_their_order():
    assert fingerprint({"a": 1, "b": {"c": 2}}) == fingerprint({"b": {"c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_an_interrupted_walk_ends_as_one_that_was_not(mixed_depth, tmp_path, stop):
    class Broken(Quiet):
        def update(self, n):
            super().update(n)
            if self.done > stop * 4 + 2:
                raise KeyboardInterrupt

    for name in ("whole", "cut"):
        if name == "cut":
            with pieces(tmp_path / name) as (data, probes, state), pytest.raises(KeyboardInterrupt):
                collect(decoder_of(mixed_depth), data, probes, state, Broken())
        with pieces(tmp_path / name) as (data, probes, state):
            assert len(data) == 4
            assert state.next_layer == (stop if name == "cut" else 0)
            progress = Quiet()
            collect(decoder_of(mixed_depth), data, probes, state, progress)
            assert progress.done == 12
    assert files(tmp_path / "cut" / "state") == files(tmp_path / "whole" / "state")
