import json

import pytest
import torch

from ream import params
from ream.evaluation.answers import AnswerRecorder, Generated
from ream.evaluation.harness import Harness
from ream.evaluation.store import ResultStore
from tests.evaluation.test_harness import Lookup, rows

TASK = "demo_solution"  # answers end with an empty line or after 34 tokens


def stored(folder, task):
    from ream.evaluation.answer_table import read_tables

    return [line for table in read_tables(folder / f"{task}.parquet") for line in table.to_pylist()]


def test_values_of_a_batch_go_to_its_answers_in_order():
    recorder = AnswerRecorder()
    recorder.queue([Generated(1, False), Generated(2, True), Generated(3, False)])
    for prompt, answer in (("p", "a"), ("q", "a"), ("p", "a")):
        recorder.add_partial("generate_until", (prompt, {}), answer)
    recorder.add_partial("loglikelihood", ("p", "a"), -1.0)
    recorder.add_partial("generate_until", ("r", {}), "a")  # of a backend that queues nothing
    taken = [recorder.take(prompt, "a") for prompt in ("q", "p", "p", "p", "r")]
    assert taken == [Generated(2, True), Generated(1, False), Generated(3, False), None, None]
    recorder.add_truncated([("p",), ("q", "c")])
    assert [recorder.truncated(arguments) for arguments in (("p", {}), ("q", "c"), ("q", {}), ("p", "c"))] == [
        True, True, False, False
    ]  # fmt: skip
    recorder.clear()
    assert not recorder.truncated(("p", {}))


def test_length_and_cut_of_every_answer_are_those_of_a_plain_greedy_loop(
    number_items, evaluation, model, tokenizer, tmp_path, monkeypatch
):
    head = model.lm_head.weight.data.clone()
    monkeypatch.setattr(model.lm_head.weight, "data", head)
    ends = [tokenizer.encode("\n")[0], tokenizer.eos_token_id]
    head[ends] *= 1.5  # so that some answers end by themselves
    suite = params.Suite(gen=[TASK], limit=16)
    result = Harness(suite, evaluation, number_items).score(model, tokenizer, ResultStore(tmp_path, "m"))
    expected = []
    for row in rows(number_items, TASK)[:16]:
        prompt = tokenizer.encode(row["context"])
        ids, ended = torch.tensor([prompt]), False
        while len(ids[0]) - len(prompt) < 34 and not ended:
            with torch.no_grad():
                ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
            written = ids[0, len(prompt) :].tolist()
            ended = written[-1] == tokenizer.eos_token_id or "\n\n" in tokenizer.decode(written)
        expected.append((len(ids[0]) - len(prompt), not ended))
    answers = stored(tmp_path, TASK)
    assert [(answer["tokens"], answer["cut"]) for answer in answers] == expected
    assert {cut for _, cut in expected} == {True, False}
    counts = result["tasks"][TASK]["counts"]
    assert (counts["questions"], counts["answers"], counts["truncated"]) == (16, 16, 0)
    assert counts["cut"] == sum(cut for _, cut in expected)
    assert counts["mean_tokens"] == pytest.approx(sum(tokens for tokens, _ in expected) / 16)


def test_prompts_that_lose_their_beginning_are_counted(number_items, evaluation, model, tokenizer):
    lengths = [len(tokenizer.encode(row["context"])) for row in rows(number_items, TASK)]
    room = sorted(lengths)[len(lengths) // 2]
    short = evaluation.model_copy(update={"max_length": room + 34})
    result = Harness(params.Suite(gen=[TASK]), short, number_items).score(model, tokenizer, None)
    assert result["tasks"][TASK]["counts"]["truncated"] == sum(length > room for length in lengths) > 0


def test_questions_whose_choices_do_not_fit_are_counted(choice_items, evaluation, model, tokenizer):
    folder, questions = choice_items
    longest = [len(row["context"]) + max(map(len, row["choices"])) for row in questions]
    fits = sorted(longest)[6]
    short = evaluation.model_copy(update={"max_length": fits - 1})  # the last token is not an input
    result = Harness(params.Suite(mc=["demo_prose"]), short, folder).score(model, tokenizer, None)
    counts = result["tasks"]["demo_prose"]["counts"]
    assert counts["truncated"] == sum(length > fits for length in longest) > 0
    assert (counts["questions"], counts["answers"], counts["cut"]) == (12, 0, None)


def test_answers_are_stored_with_what_was_made_of_them(number_items, evaluation, use, tmp_path):
    asked = rows(number_items, "demo_arithmetic")
    use(Lookup({row["context"]: f" {row['answer']}" for row in asked[::2]}))
    suite = params.Suite(gen=["demo_arithmetic"])
    Harness(suite, evaluation, number_items).score(None, None, ResultStore(tmp_path, "m"))
    answers = stored(tmp_path, "demo_arithmetic")
    assert [answer["doc_id"] for answer in answers] == list(range(len(asked)))
    assert [answer["correct"] for answer in answers] == [1.0, 0.0] * (len(asked) // 2)
    assert [answer["unparsed"] for answer in answers] == [False, True] * (len(asked) // 2)  # half are empty
    assert answers[0]["answer"] == answers[0]["parsed"] == f" {asked[0]['answer']}"
    assert (answers[0]["tokens"], answers[0]["cut"]) == (None, None)  # this model does not say
    assert len({answer["prompt_hash"] for answer in answers}) == len(asked)


def test_of_choices_the_log_likelihoods_are_stored(number_items, evaluation, use, tmp_path):
    use(Lookup(likelihood=lambda context, continuation: -float(len(continuation))))
    Harness(params.Suite(mc=["demo_result"]), evaluation, number_items).score(None, None, ResultStore(tmp_path, "m"))
    for row, answer in zip(rows(number_items, "demo_result"), stored(tmp_path, "demo_result"), strict=True):
        numbers = [-float(len(choice)) for choice in row["choices"]]
        assert json.loads(answer["answer"]) == numbers
        assert answer["parsed"] == str(numbers.index(max(numbers)))
        assert answer["correct"] == float(numbers.index(max(numbers)) == row["label"])


def test_of_a_group_answers_name_their_task(evaluation, use, tmp_path, monkeypatch):
    import datasets

    def load_dataset(path, name=None, **_):
        rows = [{"question": f"{name} {n}?", "subject": name, "choices": list("wxyz"), "answer": 2} for n in range(2)]
        splits = {"test": rows, "validation": rows[:1], "dev": rows[:1]}
        return datasets.DatasetDict({split: datasets.Dataset.from_list(made) for split, made in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    use(Lookup(likelihood=lambda context, continuation: -1.0))
    result = Harness(params.Suite(mc=["mmlu"]), evaluation, None).score(None, None, ResultStore(tmp_path, "m"))
    answers = stored(tmp_path, "mmlu")
    assert len({answer["subtask"] for answer in answers}) == 57
    assert {answer["task"] for answer in answers} == {"mmlu"}
    assert (len(answers), result["tasks"]["mmlu"]["counts"]["questions"]) == (114, 114)
