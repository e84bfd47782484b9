"""Token batches of other tools: what is read, and what is refused without executing anything."""

import pickle

import pytest
import torch

from ream.calibration.token_batches import read_token_batches
from ream.errors import UserError

IDS = torch.arange(12).reshape(3, 4)


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "tokens.pt")
        return tmp_path / "tokens.pt"

    return save


@pytest.mark.parametrize(
    ("content", "sequences"),
    [
        (IDS, IDS.tolist()),
        (IDS.to(torch.int32), IDS.tolist()),
        (IDS[0], [[0, 1, 2, 3]]),
        ([IDS[:1], IDS[1:]], IDS.tolist()),
        ((IDS[0], torch.tensor([7, 8])), [[0, 1, 2, 3], [7, 8]]),
        ({"input_ids": IDS, "labels": IDS}, IDS.tolist()),
        (
            [{"input_ids": IDS[:2], "attention_mask": torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]])}],
            [[1, 2, 3], [4, 5]],
        ),
    ],
)
def test_what_is_read(saved, content, sequences):
    assert read_token_batches(saved(content)) == sequences


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IDS.float(), r"holds torch\.float32 of shape \[3, 4\]; a tensor of token ids"),
        (IDS.reshape(1, 3, 4), r"of shape \[1, 3, 4\]"),
        ({"text": "x"}, "holds dict"),
        ("text", "holds str"),
        ([], "has no sequences"),
        (IDS - 1, "sequence 1: token id -1 is negative"),
        ({"input_ids": IDS, "attention_mask": IDS[:1]}, "has not the shape"),
        ({"input_ids": IDS[:1], "attention_mask": torch.zeros(1, 4)}, "sequence 1: no tokens"),
        ({"input_ids": IDS[:1], "attention_mask": torch.tensor([[1, 0, 1, 1]])}, "padding between tokens"),
    ],
)
def test_what_is_refused(saved, content, message):
    with pytest.raises(UserError, match=message) as raised:
        read_token_batches(saved(content))
    assert "\n" not in str(raised.value)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_is_executed(saved, tmp_path):
    with pytest.raises(UserError, match="other Python objects"):
        read_token_batches(saved([IDS, Harmful(str(tmp_path / "harm"))]))
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful(str(tmp_path / "harm"))))
    with pytest.raises(UserError):
        read_token_batches(tmp_path / "plain.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04broken"])
def test_other_files(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pt"):
        read_token_batches(tmp_path / "x.pt")
    with pytest.raises(UserError, match="is not a file"):
        read_token_batches(tmp_path / "none.pt")
