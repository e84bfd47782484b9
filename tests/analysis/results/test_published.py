import csv
import math
from collections import Counter
from pathlib import Path

import pytest

from ream.analysis.results.published import HEADER, load_published, read_rows
from ream.errors import UserError

FOLDER = Path(__file__).parents[3] / "data" / "published"
MIXES = {"0.3:0.3:0.3", "0.5:0.5:0", "0.5:0:0.5", "0:0.5:0.5", "0.2:0.5:0.3", "0.1:0.8:0.1", "0:0.7:0.3",
         "0.2:0.25:0.55", "0.1:0.1:0.8", "0:0.3:0.7"}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    return load_published(FOLDER)


def test_the_grid_of_mixes_is_whole(published):
    for experts in (96, 64):
        for method in ("frequency", "reap", "hc-smoe", "ream"):
            mixes = {row.mix for row in published.mixes if (row.experts, row.method) == (experts, method)}
            assert mixes >= MIXES
            assert mixes - MIXES <= ({"1:0:0", "0:1:0", "0:0:1"} if method == "ream" else set())
    assert len(published.mixes) == 85


def test_some_printed_rows_by_hand(published):
    # Table 5, REAM at 0:0.3:0.7, and Table 2, GLM-4.5-Air with REAM
    row = next(row for row in published.mixes if (row.experts, row.method, row.mix) == (96, "ream", "0:0.3:0.7"))
    assert {task: score.value for task, score in row.gen_tasks.items()} == {
        "ifeval": 90.9, "aime25": 53.3, "gsm8k": 87.7, "gpqa_diamond": 40.9, "humaneval": 91.5, "livecodebench": 48.0
    }  # fmt: skip
    assert (row.mc, row.gen, row.avg) == (62.0, 68.7, 65.4)
    assert row.shares == pytest.approx({"general": 0, "math": 0.3, "code": 0.7})
    glm = next(row for row in published.large_models if (row.model, row.method) == ("GLM-4.5-Air", "ream"))
    assert (glm.experts, glm.mc, glm.gen, glm.mix) == (96, None, 73.9, "")


def test_tables_2_and_4_print_the_same_numbers_for_the_same_models(published):
    def of(rows, method, mixes):
        return [row.gen_tasks for row in rows
                if (row.model, row.method) == ("Qwen3-Coder-Next", method) and row.mix in mixes]  # fmt: skip

    for method in ("original", "reap", "ream"):
        assert of(published.ablations, method, ("", "0:0.3:0.7")) == of(published.large_models, method, ("",))


def test_rows_in_two_tables_are_given_once(published):
    assert len(published.rows) == 85 + 16 + 9 - 3
    coder = [row for row in published.rows if row.model == "Qwen3-Coder-Next"]
    assert coder == list(published.ablations)


def test_methods_are_named_as_in_the_params_file(published):
    from ream.params import load_params

    methods = load_params(FOLDER.parents[1] / "params.yaml").methods
    assert {row.method for row in published.rows} - {"original"} <= set(methods)
    assert Counter(row.method for row in published.ablations) == {
        "original": 1, "reap": 4, "ream": 5, "ream-no-gate-logits": 3, "ream-one-shot": 3
    }  # fmt: skip


def test_every_printed_mean_is_right_in_whole_tenths():
    # again in whole tenths, which floating point cannot blur: |6 GEN − sum| ≤ 3 and |2 AVG − MC − GEN| ≤ 1
    rows = 0
    for name in ("mixes", "large-models", "ablations"):
        with open(FOLDER / f"{name}.csv") as file:
            for row in csv.DictReader(file):
                tenths = {name: round(float(row[name]) * 10) for name in HEADER[6:] if row[name]}
                assert abs(6 * tenths["GEN"] - sum(tenths[task] for task in HEADER[6:12])) <= 3
                assert "AVG" not in tenths or abs(2 * tenths["AVG"] - tenths["MC"] - tenths["GEN"]) <= 1
                rows += 1
    assert rows == 110


GOOD = "m,8,reap,0.3,0.3,0.3,10,20,30,40,50,60,45,35,40"  # GEN = 210 / 6 = 35, AVG = 80 / 2


COLUMNS = ",".join(HEADER)


def file(tmp_path, *lines, header=COLUMNS):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_consistent_row_is_read(tmp_path):
    (row,) = read_rows(file(tmp_path, GOOD))
    assert math.isclose(sum(row.shares.values()), 1)
    assert (row.origin, row.mc, row.gen, row.avg, row.mix) == ("paper", 45.0, 35.0, 40.0, "0.3:0.3:0.3")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("45,35,40", "45,35.1,40", "line 2: GEN 35.1 is not the mean of its tasks, 35.000"),
        ("45,35,40", "45,35,40.1", "line 2: AVG 40.1 is not the mean of MC and GEN, 40.000"),
        ("10,20", "11,20", "line 2: GEN 35 is not the mean of its tasks, 35.167"),
        ("60,45", "x,45", "line 2: livecodebench 'x' is not a number"),
        ("60,45", "nan,45", "line 2: livecodebench 'nan' is not between 0 and 100"),
        ("60,45", ",45", "line 2: no value for livecodebench"),
        ("60,45", "160,45", "line 2: livecodebench '160' is not between 0 and 100"),
        ("45,35,40", ",35,40", "line 2: only one of MC and AVG has a value"),
        ("45,35,40", "45,,40", "line 2: no value for GEN"),
        ("45,35,40", "45,35", "line 2: 14 values instead of 15"),
        ("0.3,0.3,0.3", "0,0,0", "line 2: ratios '0:0:0' are not a mix"),
        ("0.3,0.3,0.3", "0.3,,0.3", "line 2: ratios '0.3::0.3' are not a mix"),
        ("reap", "original", "line 2: the original has no calibration mix"),
        ("m,8", ",8", "line 2: 'model' is empty"),
        ("m,8", "m,0", "line 2: experts '0' is not a positive whole number"),
    ],
)
def test_an_inconsistent_row_is_refused_with_file_line_and_value(tmp_path, old, new, reason):
    assert GOOD.count(old) == 1
    with pytest.raises(UserError) as caught:
        read_rows(file(tmp_path, GOOD.replace(old, new)))
    assert str(caught.value).startswith(f"{tmp_path / 'rows.csv'}, {reason}")


def test_rounding_of_one_printed_digit_is_allowed(tmp_path):
    # tasks 10.3 + 200 = 210.3, mean 35.05: both 35.0 and 35.1 may be printed; AVG of 45 and 35.1 is 40.05
    for gen, avg in (("35", "40"), ("35.1", "40"), ("35.1", "40.1")):
        line = GOOD.replace("10,20", "10.3,20").replace("45,35,40", f"45,{gen},{avg}")
        assert read_rows(file(tmp_path, line))[0].gen == float(gen)


def test_a_model_printed_twice_is_refused_however_its_ratios_are_written(tmp_path):
    again = GOOD.replace("0.3,0.3,0.3", "0.1,0.1,0.1")
    with pytest.raises(UserError, match="line 3: the same model as in line 2"):
        read_rows(file(tmp_path, GOOD, again))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"missing\.csv does not exist"):
        read_rows(tmp_path / "missing.csv")
    with pytest.raises(UserError, match="line 1: the columns must be model,experts"):
        read_rows(file(tmp_path, GOOD, header="model,experts"))
    (tmp_path / "latin.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not valid CSV"):
        read_rows(tmp_path / "latin.csv")
