import numpy as np
import pytest

from ream.calibration.document import Document
from ream.errors import UserError
from ream.evaluation.windows import PADDING, held_out_windows, read_windows, write_windows

DOCUMENTS = [Document("1", "abcd"), Document("2", "e"), Document("3", "fgh")]


def codes(text):
    return [ord(letter) for letter in text]


def test_documents_follow_one_another_each_with_its_end():
    # abcd<0> e<0> fgh<0> in windows of 5: abcd0 | e0fgh; the last 0 is not reached.
    windows = held_out_windows(codes, 0, "general", 2, 5, DOCUMENTS)
    assert windows.tolist() == [[97, 98, 99, 100, 0], [101, 0, 102, 103, 104]]
    assert windows.dtype == np.int32


def test_the_text_may_end_within_the_last_window():
    # of abcd only abc is taken, a window's worth: abcefgh is 7 letters
    windows = held_out_windows(codes, None, "general", 3, 3, DOCUMENTS)
    assert windows.tolist() == [[97, 98, 99], [101, 102, 103], [104, PADDING, PADDING]]


def test_too_little_text_says_how_much_there_is():
    with pytest.raises(UserError, match=r"'general' fills 2 windows of 3 tokens, but 4 are needed"):
        held_out_windows(codes, None, "general", 4, 3, DOCUMENTS)


def test_windows_survive_their_file_and_the_same_windows_give_the_same_bytes(tmp_path):
    windows = {"math": np.arange(6, dtype=np.int32).reshape(2, 3), "code": np.full((1, 3), PADDING, dtype=np.int32)}
    write_windows(tmp_path / "a.safetensors", windows)
    write_windows(tmp_path / "b.safetensors", dict(reversed(windows.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    back = read_windows(tmp_path / "a.safetensors")
    assert set(back) == set(windows)
    assert all(np.array_equal(back[name], windows[name]) and back[name].dtype == np.int32 for name in windows)


def test_a_missing_or_damaged_file_names_the_stage(tmp_path):
    with pytest.raises(UserError, match="items stage"):
        read_windows(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="items stage"):
        read_windows(tmp_path / "bad.safetensors")
