"""What tests of clients share: each case's checkpoints, and transformers' results of them, made once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.serving.checkpoints import FORMS, compressed, kept, original, reference


@dataclass(frozen=True)
class Served:
    """A case's checkpoints: the original first, then the compressed one in each of FORMS.

    Attributes:
        folders: where they lie.
        expected: transformers' results of the original and of the compressed checkpoint.
    """

    folders: list[Path]
    expected: list[dict]


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """Makes a case's checkpoints, once for all clients."""
    made: dict[str, Served] = {}

    def make(case):
        if case not in made:
            root = tmp_path_factory.mktemp("case")
            first = original(case, root / "original")
            outs = [
                compressed(first, root / f"compressed-{number}", form, kept(case)) for number, form in enumerate(FORMS)
            ]
            made[case] = Served([first, *outs], [reference(first), reference(outs[0])])
        return made[case]

    return make
