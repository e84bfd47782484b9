"""`ream compress` with several methods or sizes: the models of single runs, of one walk of the original."""

import numpy as np
import pytest

from ream.commands import compress_several as module
from ream.commands.compress import compress_model
from ream.commands.compress_several import compress_several
from ream.commands.options import sizes_of
from ream.commands.request import Request
from ream.errors import UserError
from ream.models.decoder import Decoder
from ream.recipe.contents import RECIPE
from ream.recipe.recipe_file import load_recipe
from tests import tiny
from tests.subsets import some_slow


@pytest.fixture
def compress(checkpoint, tmp_path):
    """Compresses a tiny model by methods to sizes, or once; returns what was said and warned of."""
    params = tiny.write_params(tmp_path / "p", sequences=6, batch_tokens=48, probes=40)

    def run(methods, sizes, out="out", **options):
        said, warned = [], []
        request = Request(
            model=str(checkpoint), out=tmp_path / out, experts=sizes[0], method=methods[0], mix="a=1,b=2",
            settings=("compute.threads=1",), **options,
        )  # fmt: skip
        if len(methods) * len(sizes) == 1:
            compress_model(request, params, said.append, warned.append)
        else:
            compress_several(request, methods, sizes, params, said.append, warned.append)
        return said, warned

    return run


@pytest.mark.slow
def test_each_model_is_that_of_a_run_of_its_own(compress, tmp_path):
    """Byte for byte where the methods measure the same; where one needs more, the saliencies differ in roundings."""
    said, warned = compress(["ean", "reap", "reap-sequential"], [6, 4])
    assert sum(line.startswith("statistics of") for line in said) == 2, "one walk, two sources"
    assert len(warned) == len(set(warned))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["ean-4", "ean-6", "reap-4", "reap-6", "reap-sequential-4", "reap-sequential-6"]
    for method, experts in (("reap", 4), ("ean", 6), ("reap-sequential", 6)):
        compress([method], [experts], "alone")
        assert tiny.files(tmp_path / "out" / f"{method}-{experts}") == tiny.files(tmp_path / "alone")
        (tmp_path / "alone").rename(tmp_path / f"alone-{method}")
    compress(["reap", "hc-smoe"], [4], "more")
    more, alone = (load_recipe(tmp_path / path / RECIPE) for path in ("more/reap-4", "alone-reap"))
    assert more.facts == alone.facts
    for index, layer in alone.layers.items():
        assert more.layers[index].groups.kept.tolist() == layer.groups.kept.tolist()
        np.testing.assert_allclose(more.layers[index].saliency, layer.saliency, rtol=1e-5)
    assert not (tmp_path / ".out.ream").exists()


@pytest.mark.parametrize("moment", some_slow([1, 3], keep=[1]))
def test_a_run_that_was_interrupted_goes_on_and_leaves_finished_models(compress, tmp_path, monkeypatch, moment):
    """At the second and at the fourth writing; the other three walk once, the sequential one as far as it has to."""
    asked = (["reap", "ean", "reap-sequential"], [4])
    compress(*asked, "whole")
    written, walked, write, layer = [], [], module.write_model, Decoder.layer

    def interrupted(*given):
        written.append(given[3].name)
        if len(written) == moment:
            raise KeyboardInterrupt
        write(*given)

    def counted(decoder, index):
        walked.append(index)
        return layer(decoder, index)

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_model", interrupted)
        with pytest.raises(KeyboardInterrupt) as stop:
            compress(*asked)
    assert "give the same command again" in stop.value.__notes__[0]
    with pytest.raises(UserError, match="other settings"):
        compress(*asked, group_size=5)
    monkeypatch.setattr(Decoder, "layer", counted)
    said, _ = compress(*asked)
    assert [line.split(":")[0].rpartition("/")[2] for line in said if line.endswith("already finished")] == (
        written[: moment - 1]
    )
    assert walked == ([] if moment == 3 else [0, 1, 2]), "the statistics are not collected again"
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")
    assert not (tmp_path / ".out.ream").exists()


@pytest.mark.parametrize(
    ("methods", "sizes", "options", "line"),
    [
        (["reap"], [4, 1], {}, "1 is fewer than the 2"),
        (["reap"], [4, 9], {}, "9 is more than the model's 8"),
        (["reap", "ream"], [3], {"group_size": 1}, "use at least 2"),
        (["reap", "raem"], [4], {}, "method 'raem' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(compress, tmp_path, methods, sizes, options, line):
    with pytest.raises(UserError, match=line):
        compress(methods, sizes, **options)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.ream").exists()


@pytest.mark.slow
def test_the_disk_must_hold_all_models_together(compress, monkeypatch, tmp_path):
    monkeypatch.setattr("ream.machine.available.free_disk", lambda folder: 150_000)
    monkeypatch.setattr("ream.estimate.needs.free_disk", lambda folder: 150_000)
    with pytest.raises(UserError, match=r"for all 4 models and while they are made, but 0\.00 GB is free"):
        compress(["reap", "ean"], [6, 4])
    compress(["reap"], [6])


def test_sizes_are_given_once_each_in_their_order():
    assert sizes_of("96") == [96]
    assert sizes_of("96, 64,96") == [96, 64]
