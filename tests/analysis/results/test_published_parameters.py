from pathlib import Path

import pytest

from ream.analysis.results.published import load_parameters, load_published
from ream.errors import UserError
from ream.models.inspection.headers import open_headers
from tests.models.published import MODELS, write_config

FOLDER = Path(__file__).parents[3] / "data" / "published"


def write(tmp_path, *lines):
    path = tmp_path / "parameters.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_every_published_model_has_its_parameters():
    published = load_published(FOLDER)
    parameters = load_parameters(FOLDER / "parameters.csv")
    assert set(parameters) == {(row.model, row.experts) for row in published.rows}
    assert [parameters["Qwen3-30B-A3B-Instruct-2507", experts] // 10**9 for experts in (128, 96, 64)] == [30, 23, 16]


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(
    ("names", "config"),
    [
        (["Qwen3-30B-A3B-Instruct-2507"], "Qwen3-30B-A3B"),
        pytest.param(["Qwen3-Next-80B-A3B-Instruct", "Qwen3-Coder-Next"], "Qwen3-Next-80B-A3B", marks=pytest.mark.slow),
        (["GLM-4.5-Air"], "GLM-4.5-Air"),
    ],
)
def test_parameters_are_those_that_ream_estimate_counts(names, config, tmp_path):
    """Counts are of the text model without multi-token layers, as for an evaluated model and on its card."""
    model = open_headers(str(write_config(config, tmp_path)), "drop")
    whole = model.architecture.experts
    for (name, experts), parameters in load_parameters(FOLDER / "parameters.csv").items():
        if name in names:
            assert model.parts.kept(experts, whole).parameters == parameters
            if experts == whole:
                assert MODELS[config].parameters == pytest.approx(parameters / 1e9, abs=0.06)
    assert MODELS["Qwen3-Coder-Next"].config == MODELS["Qwen3-Next-80B-A3B"].config


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["m,8"], "line 2: 2 values instead of 3"),
        (["m,8,x"], "line 2: parameters 'x' is not a positive whole number"),
        (["m,8,9", "m,8,9"], "line 3: m with 8 experts appears twice"),
    ],
)
def test_invalid_parameters_are_refused(tmp_path, lines, reason):
    path = write(tmp_path, "model,experts,parameters", *lines)
    with pytest.raises(UserError) as caught:
        load_parameters(path)
    assert str(caught.value).startswith(f"{path}, {reason}")
    with pytest.raises(UserError, match="line 1: the columns must be model,experts,parameters"):
        load_parameters(write(tmp_path, "model,parameters"))
