"""What draws sequences, as the settings say."""

import pytest

from ream.calibration.document import Document
from ream.calibration.drawing import drawing
from ream.calibration.special_tokens import SpecialTokens
from ream.calibration.tokenizer import Encoder
from ream.params import BuiltinSource, Calibration, FilesSource

ENCODER = Encoder(lambda text: [len(word) for word in text.split()], SpecialTokens((9,)), "")
BUILTIN = BuiltinSource(kind="builtin", name="general")


def files(windows):
    return FilesSource(kind="files", paths=["a"], windows=windows)


def documents():
    return iter([Document("x", "a " * 20), Document("y", "ab " * 20)])


@pytest.mark.parametrize(
    ("source", "packing", "expected"),
    [
        (BUILTIN, False, [[9, *[1] * 7], [9, *[2] * 7]]),
        (files(1), False, [[9, *[1] * 7], [9, *[2] * 7]]),
        (files(2), False, [[9, *[1] * 7], [9, *[1] * 7], [9, *[2] * 7], [9, *[2] * 7]]),
        (BUILTIN, True, [[9, *[1] * 7], [9, 1, 0, *[2] * 5]]),
        (files(2), True, [[9, *[1] * 7], [9, *[1] * 7], [9, 1, 1, 0, *[2] * 4], [9, *[2] * 7]]),
        (files("all"), True, [[9, *[1] * 7], [9, *[1] * 7], [9, *[1] * 6, 0], *[[9, *[2] * 7]] * 2, [9, *[2] * 6, 0]]),
    ],
)
def test_one_document_each_or_packed(source, packing, expected):
    settings = Calibration(sequences=9, tokens=8, fill=0.9, packing=packing)
    assert drawing(source, ENCODER, settings, end=0)(documents(), 9).sequences == expected
