"""`ream compress` goes on with what an interrupted run has done, and with nothing that another run has done."""

import pytest
import yaml

from ream.calibration.document import Document
from ream.commands.compress import compress_model
from ream.commands.request import Request
from ream.errors import UserError
from ream.models.decoder import Decoder
from ream.walk.state import difference
from tests import tiny
from tests.subsets import SLOW, some_slow


@pytest.fixture
def compress(checkpoint, tmp_path):
    """Compresses a tiny model into a folder of this test; options as of a Request."""
    params = tiny.write_params(tmp_path / "p", sequences=4, batch_tokens=48, probes=40)

    def run(out="out", method="ream", experts=4, mix=None, group_size=None, **overrides):
        said = []
        request = Request(
            model=str(checkpoint), out=tmp_path / out, experts=experts, method=method, mix=mix,
            group_size=group_size,
            settings=(*(f"{name}.{key}={value}" for name, (key, value) in overrides.items()), "compute.threads=1"),
        )  # fmt: skip
        compress_model(request, params, said.append, said.append)
        return said

    return run


@pytest.fixture
def interrupted(compress, monkeypatch):
    """Runs `compress` and interrupts it where a function is called."""

    def run(place, *given, **options):
        with monkeypatch.context() as patched:
            patched.setattr(place, stopped)
            with pytest.raises(KeyboardInterrupt):
                compress(*given, **options)

    return run


def stopped(*given, **options):
    raise KeyboardInterrupt


def lying(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("method", some_slow(["ream", "hc-smoe"], keep=["hc-smoe"]))
def test_between_the_last_layer_and_the_output_nothing_is_walked_or_aligned_again(
    compress, interrupted, tmp_path, monkeypatch, method
):
    compress("whole", method)
    interrupted("ream.recipe.output.write_checkpoint", method=method)
    monkeypatch.setattr(Decoder, "layer", stopped)
    monkeypatch.setattr("ream.core.alignment.align_groups", stopped)
    compress(method=method)
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")
    assert lying(tmp_path) == ["out", "p", "whole"]


@pytest.mark.slow
def test_alignment_goes_on_after_its_last_layer(compress, interrupted, tmp_path, monkeypatch):
    from ream.compress import aligned as expert_weights

    compress("whole", "hc-smoe")
    gates, layers = expert_weights.input_gates, []  # what the alignment asks for once a layer

    def until_the_second(checkpoint, architecture, layer):
        layers.append(layer)
        return stopped() if layer == 1 else gates(checkpoint, architecture, layer)

    monkeypatch.setattr(expert_weights, "input_gates", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        compress(method="hc-smoe")
    assert layers == [0, 1]
    aligned = []
    monkeypatch.setattr(expert_weights, "input_gates", lambda *given: aligned.append(given[2]) or gates(*given))
    monkeypatch.setattr("ream.recipe.output.output_tensors", stopped)
    with pytest.raises(KeyboardInterrupt):
        compress(method="hc-smoe")
    assert aligned == [1, 2]
    monkeypatch.undo()
    compress(method="hc-smoe")
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"method": "ream-frequency"}, "method was ream and is ream-frequency now"),
        ({"calibration": ("seed", 3)}, "calibration.seed was 0 and is 3 now"),
        pytest.param({"statistics": ("probes", 7)}, "statistics.probes was 40 and is 7 now", marks=SLOW),
        pytest.param({"experts": 5}, "experts was 4 and is 5 now", marks=SLOW),
        pytest.param({"mix": "a=0.75,b=0.25"}, "mix was balanced and is custom now", marks=SLOW),
        pytest.param({"mix": "leaning"}, "mix was balanced and is leaning now", marks=SLOW),
        pytest.param({"group_size": 4}, "grouping.group_size was 8 and is 4 now", marks=SLOW),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_changed_settings_are_refused_by_name(compress, interrupted, tmp_path, change, line):
    interrupted("ream.recipe.output.write_checkpoint")
    overrides = {name: value for name, value in change.items() if isinstance(value, tuple)}
    with pytest.raises(UserError, match=f"{tmp_path}/.out.ream holds .* other settings: {line}; give the old settings"):
        compress(**{name: value for name, value in change.items() if name not in overrides}, **overrides)
    compress()
    compress("whole")
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")


def test_a_change_in_the_params_file_or_in_the_text_is_refused(compress, interrupted, tmp_path):
    interrupted("ream.recipe.output.write_checkpoint")
    path = tmp_path / "p" / "params.yaml"
    before = path.read_text()
    tree = yaml.safe_load(before)
    tree["methods"]["ream"]["alignment"] = ["weights"]
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(
        UserError, match=r"methods\.ream\.alignment was \['activations', 'weights'\] and is \['weights'"
    ):
        compress()
    path.write_text(before)
    text = tmp_path / "p" / "a.jsonl"
    lines = text.read_text().splitlines(keepends=True)
    text.write_text("".join(lines[1:]))
    with pytest.raises(UserError, match=r"other settings \(calibration\.a was .* and is .* now\)"):
        compress()
    text.write_text("".join(lines))
    compress()


@pytest.mark.slow
def test_before_the_first_layer_is_done_other_settings_may_be_given(compress, interrupted, tmp_path):
    interrupted("ream.models.decoder.Decoder.layer")
    compress(statistics=("probes", 7))
    compress("whole", statistics=("probes", 7))
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")


def test_a_refusal_before_the_first_layer_leaves_nothing(compress, tmp_path):
    with pytest.raises(UserError, match="9 is more than the model's 8"):
        compress(experts=9)
    assert lying(tmp_path) == ["p"]


def test_a_finished_output_of_other_settings_is_not_taken_for_this_run(compress, interrupted, tmp_path):
    """Killed between putting the output in its place and removing the workspace; then asked for something else."""
    interrupted("ream.commands.resume.remove")
    finished = tiny.files(tmp_path / "out")
    with pytest.raises(UserError, match="experts was 4 and is 5 now"):
        compress(experts=5)
    said = compress()
    assert said == [f"{tmp_path / 'out'}: already finished; removing the interrupted run's files next to it"]
    assert tiny.files(tmp_path / "out") == finished
    assert lying(tmp_path) == ["out", "p"]
    with pytest.raises(UserError, match="out exists and is not empty"):
        compress()
    (tmp_path / ".out.ream").mkdir()
    with pytest.raises(UserError, match="out exists and is not empty"):
        compress(experts=5)


@pytest.mark.slow
def test_text_of_the_hub_is_not_drawn_again(compress, interrupted, tmp_path, monkeypatch):
    path = tmp_path / "p" / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["sources"]["a"] = {"kind": "hub", "dataset": "own/er"}
    path.write_text(yaml.safe_dump(tree))
    asked = []
    monkeypatch.setattr("ream.stages.calibration.resolved_revision", lambda source: "0" * 40)
    monkeypatch.setattr(
        "ream.calibration.sources.iter_texts",
        lambda source, *_: asked.append(source.kind) or (Document("x", text) for text in tiny.documents(1)),
    )
    interrupted("ream.recipe.output.write_checkpoint")
    assert asked.count("hub") == 1
    compress()
    assert asked.count("hub") == 1
    assert asked.count("files") == 2


def test_difference_names_the_first_setting_that_differs():
    assert difference({"a": {"b": 1}, "c": [1, 2]}, {"c": [1, 2], "a": {"b": 1}}) == ""
    assert difference({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b was 1 and is 2 now"
    assert difference({"a": 1}, {"a": 1, "x": {"y": "z"}}) == "x.y was not set and is z now"
    assert difference({"a": (1, 2)}, {"a": [1, 2]}) == ""
    assert len(difference({"a": "x" * 99}, {"a": "y" * 99})) < 100
