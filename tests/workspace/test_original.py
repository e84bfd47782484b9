"""The original's decoder is opened only when its derived family is proved, a hub model's too."""

from dataclasses import replace

import pytest

from ream.models.family.derived import proof
from ream.models.inspection.admission import admit
from ream.models.inspection.manifest import manifest_of, source_of
from ream.params import load_params
from ream.workspace.original import Original, open_decoder
from tests import tiny
from tests.models.any_moe import build
from tests.models.storage.fake_hub import NAME, serving
from tests.models.storage.test_checkpoint import refused


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A dots.llm1 on a hub, whose type has no entry, and settings that name it."""
    monkeypatch.setattr(proof, "_PROVED", {})
    folder = build("dots1", tmp_path / "dots1")
    params = load_params(tiny.write_params(tmp_path / "params", model=NAME))
    with serving(folder, tmp_path / "hub-cache", monkeypatch):
        opened = admit(source_of(NAME), against_code=False)
        yield params, Original(manifest_of(NAME), opened.checkpoint, opened.architecture)


def test_a_derived_family_of_the_hub_is_proved(served):
    decoder = open_decoder(*served)
    assert decoder.architecture.family.derived
    assert len(proof._PROVED) == 1


def test_what_is_not_understood_is_refused(served):
    params, original = served
    wrong = replace(original.architecture, family=replace(original.architecture.family, unit="gelu"))
    refused(lambda: open_decoder(params, replace(original, architecture=wrong)), "derived but not understood")
