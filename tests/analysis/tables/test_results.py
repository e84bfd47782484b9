"""The table of results as Markdown and CSV."""

from ream.analysis.tables.results import flat_csv, markdown
from ream.evaluation.fidelity_records import Measure, Measures
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


CLOSE = Measures(
    kl=Measure(value=0.01234, low=0.01, high=0.02), top_1=Measure(value=95.5), perplexity_ratio=Measure(value=1.25),
    loss=2.0, original_loss=1.8, tokens=90, sequences=9,
)  # fmt: skip


def test_the_fidelity_of_models_stands_beside_their_scores():
    closeness = {("even", "ream", 4): CLOSE}
    text = markdown(CELLS, "dvc repro", closeness)
    assert "| MC | GEN | AVG | KL |" in text
    assert "| 4 | ream | 2.00 M | 2.250 | 2.250 | 50.0 | – | – | 0.0123 |" in text
    assert "| 70.0 | 60.0 | 65.0 | – |" in text
    assert "KL: mean divergence" in text
    head, original, ream, reap = flat_csv(CELLS, closeness).splitlines()
    assert head.endswith(",avg,kl,top_1,perplexity_ratio,rte")
    assert ream.endswith(",50.0,,,0.01234,95.5,1.25,")
    assert original.endswith(",65.02,,,,70.0")
    assert reap.endswith("2000000,,,,,,,,,")
