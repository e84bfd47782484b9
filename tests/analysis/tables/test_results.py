"""The table of results as Markdown and CSV."""

from ream.analysis.tables.results import flat_csv, markdown
from ream.evaluation.scores import Cell, SourceLoss, TaskScore


def cell(mix, method, experts, loss=None, parameters=2_000_000, **scores):
    losses = {} if loss is None else {"math": SourceLoss(loss=loss, stderr=0.1, tokens=9, sequences=3)}
    tasks = {name: TaskScore(value=scores.pop(name), items=9, num_fewshot=0, version="1", metric="acc,none")
             for name in ("rte",) if name in scores}  # fmt: skip
    return Cell(mix=mix, method=method, experts=experts, loss=losses, mean_loss=loss, tasks=tasks,
                parameters=parameters, **scores)  # fmt: skip


CELLS = [
    cell(None, None, 8, 1.5, parameters=3_000_000_000, mc=70.0, gen=60.04, avg=65.02, rte=70.0),
    cell("even", "ream", 4, 2.25, mc=50.0),
    cell("code", "reap", 4),
]


def test_markdown_by_hand():
    assert markdown(CELLS, "dvc repro") == (
        "# Results\n\nMade by `dvc repro`. Loss is held-out, in nats per token; MC, GEN and AVG in percent.\n\n"
        "## Calibration mix `even`\n\n"
        "| experts | method | parameters | loss math | mean loss | MC | GEN | AVG |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| 8 | **original** | 3.00 B | 1.500 | 1.500 | 70.0 | 60.0 | 65.0 |\n"
        "| 4 | ream | 2.00 M | 2.250 | 2.250 | 50.0 | – | – |\n\n"
        "## Calibration mix `code`\n\n"
        "| experts | method | parameters | loss math | mean loss | MC | GEN | AVG |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        "| 8 | **original** | 3.00 B | 1.500 | 1.500 | 70.0 | 60.0 | 65.0 |\n"
        "| 4 | reap | 2.00 M | – | – | – | – | – |\n"
    )


def test_csv_by_hand():
    assert flat_csv(CELLS) == (
        "cell,mix,method,experts,parameters,loss_math,mean_loss,mc,gen,avg,rte\n"
        "original 8,,original,8,3000000000,1.5,1.5,70.0,60.04,65.02,70.0\n"
        "even ream 4,even,ream,4,2000000,2.25,2.25,50.0,,,\n"
        "code reap 4,code,reap,4,2000000,,,,,,\n"
    )
