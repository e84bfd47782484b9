"""CSV files of earlier results, by hand."""

from pathlib import Path

import pytest

from ream.analysis.results.imported import imported_rows
from ream.analysis.results.published import load_published
from ream.analysis.results.rows import Score, beside
from ream.errors import UserError
from ream.params import Import

MC, GEN, SOURCES = ["rte", "boolq"], ["gsm8k", "gpqa_diamond_n_shot"], ["general", "math", "code", "c4", "law"]
HEADER = "model,method,experts,general_ratio,code_ratio,rte,boolq,gsm8k,gpqa_diamond,MC,GEN,AVG"
GOOD = "m,reap,8,0.3,0.7,50,60,40,20.2,55,30.1,42.6"  # GEN = 60.2 / 2, AVG = (55 + 30.1) / 2 = 42.55


def write(tmp_path, *lines, header=HEADER):
    path = tmp_path / "old.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def read(path, **entry):
    return imported_rows({"old": Import(path=str(path), **entry)}, MC, GEN, SOURCES)


def refusal(path, **entry):
    with pytest.raises(UserError) as caught:
        read(path, **entry)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"imports.old: {path}"), line
    return line.removeprefix(f"imports.old: {path}").removeprefix(", ").removeprefix(" ")


def test_a_row_by_hand(tmp_path):
    (row,) = read(write(tmp_path, GOOD))
    assert (row.origin, row.model, row.method, row.experts) == ("old", "m", "reap", 8)
    assert (row.ratios, row.mix) == ({"general": 0.3, "code": 0.7}, "0.3:0.7")
    assert row.mc_tasks == {"rte": Score(50), "boolq": Score(60)}
    assert row.gen_tasks == {"gsm8k": Score(40), "gpqa_diamond": Score(20.2)}
    assert (row.mc, row.gen, row.avg, row.parameters) == (55, 30.1, 42.6, None)


def test_means_and_errors_that_are_not_printed(tmp_path):
    header = "model,method,experts,parameters,gsm8k,gsm8k_stderr,gpqa_diamond_n_shot,gpqa_diamond_n_shot_stderr"
    path = write(tmp_path, "m,original,16,1000,40,1.5,21,", "m,reap,8,,90,0,10,2", header=header)
    original, reap = read(path)
    assert original.gen_tasks == {"gsm8k": Score(40, 1.5), "gpqa_diamond": Score(21, None)}
    assert (original.mc, original.gen, original.avg, original.mc_tasks) == (None, 30.5, None, {})
    assert (original.parameters, reap.parameters, original.ratios) == (1000, None, {})
    assert reap.gen_tasks == {"gsm8k": Score(90, 0.0), "gpqa_diamond": Score(10, 2.0)}


def test_columns_override_the_entry_which_fills_the_gaps(tmp_path):
    path = write(tmp_path, ",40,20", "n,41,21", header="model,gsm8k,gpqa_diamond")
    entry = {
        "model": "m",
        "method": "ean",
        "experts": 4,
        "mix": {"code": 1, "c4": 3},
        "parameters": 7,
        "origin": "then",
    }
    first, second = read(path, **entry)
    assert (first.model, second.model) == ("m", "n")
    assert (first.origin, first.method, first.experts, first.parameters) == ("then", "ean", 4, 7)
    assert list(first.ratios.items()) == [("general", 3), ("code", 1)]  # in the order of the sources, by their roles
    path = write(tmp_path, GOOD, "m,original,16,,,50,60,40,20,55,30,42.5")
    assert [row.ratios for row in read(path, mix={"math": 1})] == [{"general": 0.3, "code": 0.7}, {}]
    path = write(tmp_path, "original,40,20", header="method,gsm8k,gpqa_diamond")
    assert read(path, model="m", experts=8, mix={"math": 1})[0].ratios == {}


def test_a_mean_without_its_tasks_is_taken_as_it_is_printed(tmp_path):
    (row,) = read(
        write(tmp_path, "m,reap,8,40,20,55,30,42.5", header="model,method,experts,gsm8k,gpqa_diamond,MC,GEN,AVG")
    )
    assert (row.mc, row.gen, row.avg, row.mc_tasks) == (55, 30, 42.5, {})


def test_files_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "old.csv"
    path.write_bytes(f"\ufeff{HEADER}\r\n{GOOD.replace(',', ' , ')}\r\n\r\n".encode())
    assert read(path)[0].gen == 30.1


def test_published_rows_come_back_from_their_own_file():
    folder = Path(__file__).parents[3] / "data" / "published"
    tasks = ["ifeval", "aime25", "gsm8k", "gpqa_diamond_n_shot", "humaneval", "livecodebench"]
    rows = imported_rows({"again": Import(path=str(folder / "mixes.csv"))}, [], tasks, SOURCES)
    for row, printed in zip(rows, load_published(folder).mixes, strict=True):
        for name in ("model", "method", "experts", "mix_key", "gen_tasks", "mc", "gen", "avg"):
            assert getattr(row, name) == getattr(printed, name)
    assert {row.origin for row in rows} == {"again"}
    assert beside(rows[:1], rows[1:2])[1].origin == "again"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("50,60,40", "50,,40", "line 2: no value for boolq; MC is the mean of rte, boolq: give all of them, or none"),
        ("50,60,40", "x,60,40", "line 2: rte 'x' is not a number"),
        ("50,60,40", "nan,60,40", "line 2: rte 'nan' is not between 0 and 100"),
        ("50,60,40", "101,60,40", "line 2: rte '101' is not between 0 and 100"),
        ("50,60,40", "-1,60,40", "line 2: rte '-1' is not between 0 and 100"),
        ("55,30.1", "55.1,30.1", "line 2: MC 55.1 is not the mean of its tasks, 55.000"),
        ("55,30.1", "55,30.2", "line 2: GEN 30.2 is not the mean of its tasks, 30.100"),
        ("30.1,42.6", "30.1,42.7", "line 2: AVG 42.7 is not the mean of MC and GEN, 42.550"),
        ("30.1,42.6", "inf,42.6", "line 2: GEN 'inf' is not between 0 and 100"),
        ("m,reap,8", "m,reap", "line 2: 11 values instead of 12"),
        ("m,reap,8", "m,reap,0", "line 2: experts '0' is not a positive whole number"),
        ("m,reap,8", "m,reap,8.5", "line 2: experts '8.5' is not a positive whole number"),
        ("m,reap,8", ",reap,8", "line 2: no model; fill in the column, or set model in imports.old"),
        ("m,reap,8", "m,,8", "line 2: no method; fill in the column, or set method in imports.old"),
        ("m,reap,8", "m,original,8", "line 2: the original has no calibration mix; leave its ratios empty"),
        ("0.3,0.7", "0.3,", "line 2: ratios '0.3:' are not a mix; give both, not all of them zero, or none"),
        ("0.3,0.7", "0,0", "line 2: ratios '0:0' are not a mix"),
        (
            "50,60,40,20.2,55,30.1,42.6",
            ",,,,55,30,",
            "line 2: no value for any task of the suite; it has rte, boolq, gsm8k",
        ),
        ("50,60,40,20.2,55,30.1,42.6", "50,60,,,55,,40", "line 2: AVG is the mean of MC and GEN; give both, or leave"),
    ],
)
def test_an_inconsistent_row_is_refused_with_file_line_and_value(tmp_path, old, new, line):
    assert GOOD.count(old) == 1
    assert refusal(write(tmp_path, GOOD.replace(old, new))).startswith(line)


def test_unknown_columns_are_refused(tmp_path):
    path = write(tmp_path, GOOD, header=HEADER.replace("boolq", "bolq"))
    assert refusal(path).startswith(
        "line 1: column 'bolq' is unknown; did you mean 'boolq'? a CSV file of results has: AVG, GEN"
    )
    path = write(tmp_path, GOOD, header=HEADER.replace("code_ratio", "laws_ratio"))
    assert "column 'laws_ratio' is unknown; did you mean 'law_ratio'?" in refusal(path)
    path = write(tmp_path, GOOD, header=HEADER.replace("gsm8k", "gpqa_diamond_n_shot"))
    assert refusal(path) == "line 1: column 'gpqa_diamond' appears twice; keep one of them"
    header = "model,method,experts,gsm8k,gpqa_diamond,rte_stderr"
    path = write(tmp_path, "m,reap,8,40,20,1", header=header)
    assert refusal(path) == "line 2: rte_stderr without a value of rte; give both or neither"
    path = write(
        tmp_path, "m,reap,8,40,20,1,1", header="model,method,experts,gsm8k,gpqa_diamond,general_ratio,c4_ratio"
    )
    assert refusal(path) == "line 2: the mix has two sources of one kind: general, c4; merge them into one"


def test_files_without_results_are_refused(tmp_path):
    assert refusal(tmp_path / "no.csv").startswith("does not exist; name an existing file")
    assert refusal(write(tmp_path)) == "has no rows; add a row for each model, or remove the entry"
    (tmp_path / "empty.csv").touch()
    assert refusal(tmp_path / "empty.csv") == "is empty; its first line must name the columns"
    (tmp_path / "latin.csv").write_bytes(b"\xff\xfe")
    assert refusal(tmp_path / "latin.csv").startswith("is not valid CSV (")


def test_a_repeated_model_is_refused_however_its_mix_is_written(tmp_path):
    path = write(tmp_path, GOOD, GOOD.replace("0.3,0.7", "3,7"))
    assert refusal(path) == f"line 3: the same model as imports.old: {path}, line 2; keep one of them"
    entries = {name: Import(path=str(write(tmp_path, GOOD)), origin="then") for name in ("a", "b")}
    with pytest.raises(UserError, match=r"imports.b: .* line 2: the same model as imports.a: .* line 2; keep one"):
        imported_rows(entries, MC, GEN, SOURCES)
    separate = {name: Import(path=str(path)) for name in ("a", "b") if write(tmp_path, GOOD)}
    assert [row.origin for row in imported_rows(separate, MC, GEN, SOURCES)] == ["a", "b"]
