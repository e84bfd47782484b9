"""The paper's tasks, pinned: for each the task of lm-eval 0.4.13, or of ours, and the number that is its score."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Pinned:
    """How a task is run and scored.

    Attributes:
        folder: folder of the task's YAML file: under lm_eval/tasks, or an absolute path for a task of ours. Reading
            this folder alone saves indexing all 14,700 tasks.
        data: the data set of the hub that its questions come from.
        metric: the metric that is the task's score.
        num_fewshot: number of examples in the prompt.
        reason: reason for the choices.
        filter: filter of the model's answers that is applied before the metric.
        generation: settings of greedy generation. They repeat the task's own, so that those cannot change unnoticed.
        runs_code: whether the task executes code written by the model.
        packages: modules that the task imports and that ream does not install.
        nltk: tokenizers of NLTK that the task reads, which NLTK keeps apart from its package.
    """

    folder: str
    data: str
    metric: str
    num_fewshot: int
    reason: str
    filter: str = "none"
    generation: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    runs_code: bool = False
    packages: tuple[str, ...] = ()
    nltk: tuple[str, ...] = ()

    @property
    def output_type(self) -> str:
        """Lm-eval's output type: all pinned tasks that generate say how many tokens."""
        return "generate_until" if "max_gen_toks" in self.generation else "multiple_choice"


_ACC = "multiple choice by log-likelihood; the paper reports acc, not acc_norm; zero-shot, the task's own default"
_GREEDY = {"do_sample": False, "temperature": 0.0}

PINNED: Mapping[str, Pinned] = MappingProxyType(
    {
        "winogrande": Pinned("winogrande", "allenai/winogrande", "acc", 0, _ACC),
        "arc_challenge": Pinned("arc", "allenai/ai2_arc", "acc", 0, _ACC),
        "arc_easy": Pinned("arc", "allenai/ai2_arc", "acc", 0, _ACC),
        "boolq": Pinned("super_glue", "aps/super_glue", "acc", 0, _ACC),
        "hellaswag": Pinned("hellaswag", "Rowan/hellaswag", "acc", 0, _ACC),
        "mmlu": Pinned("mmlu/default", "cais/mmlu", "acc", 0, f"{_ACC}; mean over all questions of the 57 subjects"),
        "openbookqa": Pinned("openbookqa", "allenai/openbookqa", "acc", 0, _ACC),
        "rte": Pinned(
            "glue", "nyu-mll/glue", "acc", 0, f"{_ACC}; the task of GLUE, of which SuperGLUE has a copy (sglue_rte)"
        ),
        "ifeval": Pinned(
            "ifeval",
            "google/IFEval",
            "prompt_level_strict_acc",
            0,
            "all instructions of a prompt followed by the text as generated: the strictest of its four",
            generation={**_GREEDY, "until": [], "max_gen_toks": 1280},
            packages=("langdetect", "immutabledict", "nltk"),
            nltk=("punkt_tab",),
        ),
        "aime25": Pinned(
            "aime",
            "math-ai/aime25",
            "exact_match",
            0,
            "both papers of 2025, 30 problems; the boxed answer; a long limit, because solutions are long",
            generation={**_GREEDY, "max_gen_toks": 32768},
        ),
        "gsm8k": Pinned(
            "gsm8k",
            "openai/gsm8k",
            "exact_match",
            5,
            "the last piece of digits: instruction-tuned models seldom write '#### 42', which strict-match wants",
            filter="flexible-extract",
            generation={**_GREEDY, "max_gen_toks": 256},
        ),
        "gpqa_diamond_n_shot": Pinned(
            "gpqa/n_shot",
            "Idavidrein/gpqa",
            "acc",
            5,
            "docs/method.md: 5-shot without chain of thought; (A) to (D) are scored by log-likelihood",
        ),
        "humaneval": Pinned(
            "humaneval",
            "openai/openai_humaneval",
            "pass@1",
            0,
            "one greedy completion, all tests of the problem passed",
            filter="create_test",
            generation={"do_sample": False, "max_gen_toks": 1024},
            runs_code=True,
        ),
        "livecodebench_v6": Pinned(
            str(Path(__file__).parent / "livecodebench"),
            "livecodebench/code_generation_lite",
            "pass@1",
            0,
            "all 1055 problems of release_v6, one greedy answer to each; a long limit, because instruct models explain",
            filter="execute",
            generation={**_GREEDY, "until": [], "max_gen_toks": 16384},
            runs_code=True,
        ),
    }
)
