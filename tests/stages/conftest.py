"""Tokenizers of the tests of other rooms."""

from tests.calibration.conftest import tokenizer_folder
from tests.evaluation.conftest import tokenizer

__all__ = ["tokenizer", "tokenizer_folder"]
