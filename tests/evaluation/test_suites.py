"""Every task of the paper's suites, run by the harness and lm-eval on a few rows in the schema of its data set.

The rows, the expected prompts and the right answers are written here, and the rows replace the hub. LiveCodeBench has
its own tests.
"""

import re
import sys
import types

import datasets
import pytest

from ream import params
from ream.evaluation.harness import Harness
from ream.evaluation.pinned import PINNED
from tests.evaluation.test_harness import Lookup

LETTERS = "ABCD"


class Asked(Lookup):
    """A model that knows some answers and keeps what it was asked."""

    def __init__(self, right=(), generated=None):
        super().__init__(generated, lambda *pair: 0.0 if pair in right else -1.0)
        self.pairs, self.prompts, self.kwargs = [], [], None

    def loglikelihood(self, requests):
        self.pairs += [request.args for request in requests]
        return super().loglikelihood(requests)

    def generate_until(self, requests):
        self.prompts += [request.args[0] for request in requests]
        self.kwargs = requests[0].args[1]
        return super().generate_until(requests)


@pytest.fixture
def hub(monkeypatch):
    """A function that sets the splits that ``datasets`` loads for a data set."""
    known = {}

    def load_dataset(path, name=None, **_):
        splits = known[path, name]
        return datasets.DatasetDict({split: datasets.Dataset.from_list(rows) for split, rows in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)

    def put(path, name, **splits):
        known[path, name] = splits

    return put


@pytest.fixture
def score(evaluation, use):
    """A function that gives the harness's result for one task of a model."""

    def of(lm, name, allow=False, **suite):
        use(lm)
        kind = "gen" if PINNED[name].generation else "mc"
        settings = evaluation.model_copy(update={"allow_code_execution": allow})
        return Harness(params.Suite(**{kind: [name]}, **suite), settings, None).score(None, None, None)["tasks"][name]

    return of


def choices(*texts, labels=LETTERS):
    return {"text": list(texts), "label": list(labels[: len(texts)])}


WINOGRANDE = [
    {"sentence": "The cup broke, so _ was swept up.", "option1": "it", "option2": "she", "answer": "1"},
    {"sentence": "Ann thanked Bea because _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"},
    {"sentence": "The key fits since _ is small.", "option1": "it", "option2": "rain", "answer": "1"},
]
ARC = [
    {"id": "a", "question": "What is wet?", "choices": choices("sand", "water"), "answerKey": "B"},
    {"id": "b", "question": "What is hot?", "choices": choices("ice", "snow", "fire"), "answerKey": "C"},
    {"id": "c", "question": "Which burns?", "choices": choices("wood", "stone", labels="1234"), "answerKey": "1"},
]
BOOK = [
    {"id": "a", "question_stem": "Plants need", "choices": choices("light", "noise"), "answerKey": "A"},
    {"id": "b", "question_stem": "Fish live in", "choices": choices("sand", "water"), "answerKey": "B"},
    {"id": "c", "question_stem": "Birds can", "choices": choices("dive", "fly"), "answerKey": "B"},
]
HELLASWAG = [
    {
        "ind": n, "activity_label": "Cooking", "ctx_a": f"[header] A cook [title] boils pot {n}.", "ctx_b": "the cook",
        "ctx": "unused", "endings": [f"sings {n}.", f"adds [step] salt {n}.", f"sleeps {n}.", f"runs {n}."],
        "source_id": "x", "split": "val", "split_type": "indomain", "label": str(label),
    }
    for n, label in enumerate((1, 2, 3))
]  # fmt: skip
BOOLQ = [
    {"question": f"is {n} even", "passage": f"Of {n}.", "idx": n, "label": int(n % 2 == 0)} for n in (1, 2, 4)
]  # fmt: skip
RTE = [
    {"sentence1": f"It rains {n}.", "sentence2": f"It is wet {n}.", "label": label, "idx": n}
    for n, label in enumerate((0, 1, 1))
]

# Task: hub id and configuration, split that is scored, rows, and the right (context, continuation) of each row.
CHOICES = {
    "winogrande": (
        "allenai/winogrande", "winogrande_xl", "validation", WINOGRANDE,
        [
            ("The cup broke, so it", " was swept up."),
            ("Ann thanked Bea because Bea", " had helped."),
            ("The key fits since it", " is small."),
        ],
    ),
    "arc_easy": (
        "allenai/ai2_arc", "ARC-Easy", "test", ARC,
        [
            ("Question: What is wet?\nAnswer:", " water"),
            ("Question: What is hot?\nAnswer:", " fire"),
            ("Question: Which burns?\nAnswer:", " wood"),
        ],
    ),
    "boolq": (
        "aps/super_glue", "boolq", "validation", BOOLQ,
        [
            ("Of 1.\nQuestion: is 1 even?\nAnswer:", " no"),
            ("Of 2.\nQuestion: is 2 even?\nAnswer:", " yes"),
            ("Of 4.\nQuestion: is 4 even?\nAnswer:", " yes"),
        ],
    ),
    "hellaswag": (
        "Rowan/hellaswag", None, "validation", HELLASWAG,
        [
            ("Cooking: A cook. boils pot 0. The cook", " adds salt 0."),
            ("Cooking: A cook. boils pot 1. The cook", " sleeps 1."),
            ("Cooking: A cook. boils pot 2. The cook", " runs 2."),
        ],
    ),
    "openbookqa": (
        "allenai/openbookqa", "main", "test", BOOK,
        [("Plants need", " light"), ("Fish live in", " water"), ("Birds can", " fly")],
    ),
    "rte": (
        "nyu-mll/glue", "rte", "validation", RTE,
        [
            ("It rains 0.\nQuestion: It is wet 0. True or False?\nAnswer:", " True"),
            ("It rains 1.\nQuestion: It is wet 1. True or False?\nAnswer:", " False"),
            ("It rains 2.\nQuestion: It is wet 2. True or False?\nAnswer:", " False"),
        ],
    ),
}  # fmt: skip
CHOICES["arc_challenge"] = ("allenai/ai2_arc", "ARC-Challenge", *CHOICES["arc_easy"][2:])


def test_every_task_of_the_papers_suites_is_tested():
    elsewhere = {"mmlu", "gpqa_diamond_n_shot", "ifeval", "aime25", "gsm8k", "humaneval", "livecodebench_v6"}
    assert set(CHOICES) | elsewhere == set(PINNED)


@pytest.mark.parametrize("name", CHOICES)
def test_a_multiple_choice_task_asks_and_scores(name, hub, score):
    path, config, split, rows, right = CHOICES[name]
    other = [row | {"label": 0} if "label" in row else row for row in reversed(rows)]  # not what is asked
    splits = {"train": other, "validation": other} | {split: rows}
    hub(path, config, **splits)
    # If the model knows nothing, all choices are alike and the first is taken; that of the middle row is never right.
    lm = Asked({right[0], right[2]})
    result = score(lm, name)
    assert set(right) <= set(lm.pairs)
    assert (result["metric"], result["num_fewshot"], result["items"]) == ("acc,none", 0, len(rows))
    assert result["value"] == pytest.approx(200 / 3)
    assert result["stderr"] == pytest.approx(100 * (2 / 9 / 2) ** 0.5)  # p (1 - p) / (n - 1)
    assert score(Asked(right), name)["value"] == 100


def test_acc_is_of_the_sum_and_not_of_the_mean_over_letters(hub, score):
    rows = [{"id": "a", "question": "Which?", "choices": choices("ab", "abcdefgh"), "answerKey": "A"}]
    hub("allenai/ai2_arc", "ARC-Easy", train=rows, validation=rows, test=rows)
    lm = Asked()
    lm.likelihood = lambda context, continuation: {" ab": -2.0, " abcdefgh": -3.0}[continuation]
    assert score(lm, "arc_easy")["value"] == 100


def test_mmlu_is_the_mean_over_questions_of_all_subjects(hub, score, monkeypatch):
    def row(subject, n):
        return {"question": f" Which {subject} {n}? ", "subject": subject, "choices": list("wxyz"), "answer": 2}

    asked = []

    def load_dataset(path, name=None, **_):
        asked.append((path, name))
        rows = [row(name, n) for n in range(4 if name == "anatomy" else 2)]
        splits = {"test": rows, "validation": rows[:1], "dev": rows[:1]}
        return datasets.DatasetDict({split: datasets.Dataset.from_list(made) for split, made in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    head = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    right = [(f"{head}Which anatomy {n}?\nA. w\nB. x\nC. y\nD. z\nAnswer:", " C") for n in range(4)]
    lm = Asked(right[:3])
    result = score(lm, "mmlu")
    assert len(set(asked)) == 57
    assert {path for path, _ in asked} == {"cais/mmlu"}
    assert set(right) <= set(lm.pairs)
    # three of anatomy's four right, the other 112 wrong: 3 of 116 questions, where the mean of subjects is 0.75 of 57
    assert (result["items"], result["metric"], result["num_fewshot"]) == (116, "acc,none", 0)
    assert result["value"] == pytest.approx(300 / 116)
    # pooled variance: anatomy's sum of squares 0.75, the others' 0, over 116 - 57 degrees of freedom
    assert result["stderr"] == pytest.approx(100 * (0.75 / 59 / 116) ** 0.5)


GPQA = [
    {
        "Question": f"What is {n}?", "Correct Answer": f"right {n}", "Incorrect Answer 1": f"wrong {n} a",
        "Incorrect Answer 2": f"wrong {n} b", "Incorrect Answer 3": f"wrong {n} c",
    }
    for n in range(30)
]  # fmt: skip


def test_gpqa_has_five_examples_and_letters_as_answers(hub, score):
    hub("Idavidrein/gpqa", "gpqa_diamond", train=GPQA)

    def likelihood(context, continuation):
        *examples, question = context.split("Question: ")[1:]
        number = int(re.match(r"What is (\d+)\?\nChoices:\n", question)[1])
        assert len(examples) == 5
        assert all(f"What is {number}?" not in example for example in examples)
        for example in examples:  # each with its right letter and nothing of a chain of thought
            letter = re.search(r"Answer: (\([A-D]\))\s*$", example)[1]
            assert re.search(rf"^{re.escape(letter)} right \d+$", example, re.MULTILINE)
        assert question.endswith("\nAnswer:")
        knows = number % 3 != 0
        return (
            0.0 if knows and re.search(rf"^{re.escape(continuation.strip())} right", question, re.MULTILINE) else -1.0
        )

    lm = Asked()
    lm.likelihood = likelihood
    result = score(lm, "gpqa_diamond_n_shot", num_fewshot={"gpqa_diamond_n_shot": 5})
    assert (result["items"], result["num_fewshot"], result["metric"]) == (30, 5, "acc,none")
    assert {continuation for _, continuation in lm.pairs} == {" (A)", " (B)", " (C)", " (D)"}
    # 20 are known; of the other ten those are right whose right answer stands first, where not all do
    questions = {context.rpartition("Question: ")[2] for context, _ in lm.pairs}
    unknown = [question for question in questions if int(re.match(r"What is (\d+)", question)[1]) % 3 == 0]
    first = sum(re.search(r"^\(A\) right", question, re.MULTILINE) is not None for question in unknown)
    assert (len(questions), len(unknown)) == (30, 10)
    assert 0 < first < 10
    assert result["value"] == pytest.approx(100 * (20 + first) / 30)


def test_aime25_wants_the_boxed_answer(hub, score):
    rows = [{"problem": f"Find {n}.", "answer": str(n), "id": str(n)} for n in (70, 81, 16)]
    hub("math-ai/aime25", None, test=rows)
    answers = {
        "Question: Find 70.\nAnswer:": "First 69, then more. $x = 70$, so the answer is $\\boxed{70}$.",
        "Question: Find 81.\nAnswer:": "It is \\boxed{80}, not 81",
        "Question: Find 16.\nAnswer:": "I think 15.\n\n**16**",
    }
    lm = Asked(generated=answers)
    result = score(lm, "aime25")
    assert lm.prompts == list(answers)
    assert (result["items"], result["num_fewshot"], result["metric"]) == (3, 0, "exact_match,none")
    assert result["value"] == pytest.approx(100 / 3)
    assert result["robust"] == pytest.approx(200 / 3)  # the third is right, too
    assert (lm.kwargs["max_gen_toks"], lm.kwargs["do_sample"]) == (32768, False)


def test_gsm8k_has_five_examples_and_takes_the_last_number(hub, score):
    train = [{"question": f"Old {n}?", "answer": f"It is {n}.\n#### {n}"} for n in range(20)]
    rows = [{"question": f"New {n}?", "answer": f"One step.\n#### {n}"} for n in ("1,200", "7", "8")]
    hub("openai/gsm8k", "main", train=train, test=rows)
    says = {"1,200": "3 boxes of 400 are 1200.", "7": "6 + 1 = 7\n\nSo 7 it is, of 9.", "8": "The answer is **8**"}

    class Answering(Asked):
        def generate_until(self, requests):
            super().generate_until(requests)
            return [says[prompt.rpartition("New ")[2].removesuffix("?\nAnswer:")] for prompt in self.prompts]

    lm = Answering()
    result = score(lm, "gsm8k")
    assert (result["items"], result["num_fewshot"], result["metric"]) == (3, 5, "exact_match,flexible-extract")
    assert result["value"] == pytest.approx(200 / 3)  # the last number of the second is 9
    for prompt in lm.prompts:
        assert prompt.count("Question: Old") == prompt.count("\n#### ") == 5
    assert lm.kwargs["max_gen_toks"] == 256


@pytest.fixture
def checkers(monkeypatch):
    """Stand-ins for packages that IFEval's checkers import but the instructions of these tests don't use."""
    import nltk

    monkeypatch.setattr(nltk.data, "find", lambda *_: None)  # else punkt_tab is downloaded
    for name, content in {"langdetect": {}, "immutabledict": {"immutabledict": dict}}.items():
        try:
            __import__(name)
        except ImportError:
            stand_in = types.ModuleType(name)
            vars(stand_in).update(content)
            monkeypatch.setitem(sys.modules, name, stand_in)
    yield
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_ifeval_wants_every_instruction_of_a_prompt_followed(hub, score, checkers):
    nothing = {"num_words": None, "relation": None}
    few = {"num_words": 4, "relation": "less than"}
    both = ["punctuation:no_comma", "length_constraints:number_words"]
    rows = [
        {"key": 1, "prompt": "No commas.", "instruction_id_list": both[:1], "kwargs": [nothing]},
        {"key": 2, "prompt": "Few words, no commas.", "instruction_id_list": both, "kwargs": [nothing, few]},
        {"key": 3, "prompt": "Few.", "instruction_id_list": both[1:], "kwargs": [few]},
        {"key": 4, "prompt": "Few and none.", "instruction_id_list": both, "kwargs": [nothing, few]},
    ]
    hub("google/IFEval", None, train=rows)
    answers = {
        "No commas.": "As you wish and long enough", "Few words, no commas.": "Well, yes",
        "Few.": "One two three four five", "Few and none.": "So it is",
    }  # fmt: skip
    lm = Asked(generated=answers)
    result = score(lm, "ifeval")
    assert lm.prompts == list(answers)
    assert (result["items"], result["num_fewshot"], result["metric"]) == (4, 0, "prompt_level_strict_acc,none")
    # the second follows one of its two instructions, the third none; four of the six instructions are followed
    assert result["value"] == 50
    by_instruction = score(Asked(generated=answers), "ifeval", metric={"ifeval": "inst_level_strict_acc"})
    assert by_instruction["value"] == pytest.approx(400 / 6)
    assert lm.kwargs["max_gen_toks"] == 1280


def test_humaneval_runs_the_tests_on_the_completed_function(hub, score):
    rows = [
        {
            "task_id": f"HumanEval/{n}", "prompt": f'def add{n}(a, b):\n    """Sum and {n}."""\n',
            "canonical_solution": f"    return a + b + {n}\n", "entry_point": f"add{n}",
            "test": f"def check(candidate):\n    assert candidate(1, 2) == {3 + n}\n",
        }
        for n in range(3)
    ]  # fmt: skip
    hub("openai/openai_humaneval", None, test=rows)
    completions = ["    return a + b + 0", "    return a + b", "    total = a + b\n    return total + 2"]
    lm = Asked(generated={row["prompt"]: text for row, text in zip(rows, completions, strict=True)})
    result = score(lm, "humaneval", allow=True)
    assert lm.prompts == [row["prompt"] for row in rows]
    assert (result["items"], result["num_fewshot"], result["metric"]) == (3, 0, "pass@1,create_test")
    assert result["value"] == pytest.approx(200 / 3)
    assert "\ndef" in lm.kwargs["until"]
