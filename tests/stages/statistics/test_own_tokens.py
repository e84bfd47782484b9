"""Own tokens from the file to the statistics: padding changes nothing, and what does not fit the model is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from ream.calibration.corpus import read_corpus
from ream.commands.stage import run_stage
from ream.core.composition import ALL_QUANTITIES
from ream.errors import UserError
from ream.models.family.families import FAMILIES
from ream.workspace.layout import Workspace
from ream.workspace.needs import write_needs
from ream.workspace.shares import write_shares
from tests import tiny

PAD, POSITIONS = 98, 256  # an id that the text has, too; the tiny model's max_position_embeddings
LENGTHS = (24, 5, 17, 1, 24, 9, 12, 20)


def tokens():
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(tiny.VOCABULARY - 50, (length,), generator=generator).tolist() for length in LENGTHS]


def left(rows):
    pads = [max(map(len, rows)) - len(ids) for ids in rows]
    ids = [[PAD] * count + ids for count, ids in zip(pads, rows, strict=True)]
    return {"input_ids": ids, "attention_mask": [[0] * n + [1] * len(r) for n, r in zip(pads, rows, strict=True)]}


def right(rows):
    pads = [max(map(len, rows)) - len(ids) for ids in rows]
    ids = [ids + [PAD] * count for count, ids in zip(pads, rows, strict=True)]
    masks = [[True] * len(r) + [False] * n for n, r in zip(pads, rows, strict=True)]
    return {"input_ids": ids, "attention_mask": masks}


@pytest.fixture
def collect(mixed_depth, tmp_path):
    """Writes rows to own.parquet and runs stages on them; returns the workspace."""

    def run(name, columns, stages=("calibration", "statistics"), model=mixed_depth, tokens=24):
        count = len(columns["input_ids"])
        pq.write_table(pa.table({"source": ["s"] * count, **columns}), tmp_path / "own.parquet")
        path = tiny.write_params(tmp_path / "params", model, tokens=tokens)
        tree = yaml.safe_load(path.read_text())
        tree["sources"]["a"] = {"kind": "tokens", "path": str(tmp_path / "own.parquet")}
        tree["sources"]["b"] = {"kind": "builtin", "name": "math"}
        path.write_text(yaml.safe_dump(tree))
        workspace = Workspace(tmp_path / name)
        run_stage("model", {}, path, workspace)
        write_needs(workspace, ALL_QUANTITIES)
        write_shares(workspace, {"a": None, "b": None})
        for stage in stages:
            run_stage(stage.partition("@")[0], {"source": stage.partition("@")[2] or "a"}, path, workspace)
        return workspace

    return run


@pytest.mark.slow
def test_padding_changes_no_sequence_and_no_statistics(collect):
    rows = tokens()
    forms = {"plain": {"input_ids": rows}, "left": left(rows), "right": right(rows)}
    done = [collect(name, columns) for name, columns in forms.items()]
    assert read_corpus(done[0].calibration("a")).sequences == rows
    files = [tiny.files(workspace.statistics("a")) for workspace in done]
    assert len(files[0]) == 3  # facts.json and two layers with experts
    for workspace, statistics in zip(done[1:], files[1:], strict=True):
        assert workspace.calibration("a").read_bytes() == done[0].calibration("a").read_bytes()
        assert statistics == files[0]
    unmasked = collect("unmasked", {"input_ids": left(rows)["input_ids"]})
    assert tiny.files(unmasked.statistics("a")) != files[0]


def test_rows_that_are_longer_than_the_models_inputs(collect, mixed_depth, tmp_path):
    longest, stages = [1] * POSITIONS, ("calibration",)
    padded = {"input_ids": [[1] * 300], "attention_mask": [[0] * 44 + longest]}
    assert read_corpus(collect("padded", padded, stages).calibration("a")).sequences == [longest]
    message = rf"own\.parquet, row 2: {POSITIONS + 1} tokens are more than the model's {POSITIONS} positions \(max_pos"
    with pytest.raises(UserError, match=message) as error:
        collect("long", {"input_ids": [[1], [*longest, 1]]}, stages)
    assert "\n" not in str(error.value)
    without = tiny.damaged(mixed_depth, tmp_path / "without")
    tiny.rewrite_config(without, lambda config: {k: v for k, v in config.items() if k != "max_position_embeddings"})
    workspace = collect("unlimited", {"input_ids": [[*longest, 1]]}, stages, without)
    assert read_corpus(workspace.calibration("a")).sequences == [[*longest, 1]]


@pytest.mark.slow
def test_text_is_not_cut_into_more_tokens_than_the_models_inputs_have(collect):
    own, stages = {"input_ids": [[1]]}, ("calibration@b",)
    sequences = read_corpus(collect("all", own, stages, tokens=POSITIONS).calibration("b")).sequences
    assert {len(ids) for ids in sequences} == {POSITIONS}
    message = (
        rf"^calibration\.tokens: {POSITIONS + 1} is more than the model's {POSITIONS} positions .* at most {POSITIONS}$"
    )
    with pytest.raises(UserError, match=message):
        collect("more", own, stages, tokens=POSITIONS + 1)
    assert collect("own", own, ("calibration",), tokens=POSITIONS + 1).calibration("a").exists()  # cuts no text


@pytest.mark.parametrize(
    ("model_type", "config", "positions"),
    [
        ("qwen3_moe", {"max_position_embeddings": 40960}, 40960),
        ("qwen3_moe", {}, None),
        ("qwen3_moe", {"max_position_embeddings": None}, None),
        ("llama4", {"max_position_embeddings": 1, "text_config": {"max_position_embeddings": 7}}, 7),
        ("llama4", {"max_position_embeddings": 1, "text_config": {}}, None),
    ],
)
def test_positions_of_a_config(model_type, config, positions):
    assert FAMILIES[model_type].positions(config) == positions
