"""Sections suites, evaluation and rank: how models are measured."""

from typing import Literal

from pydantic import Field, model_validator

from ream.params.section import Section


class Suite(Section):
    """Tasks of lm-eval or data/tasks: multiple-choice (MC) and generative (GEN) tasks, and held-out loss."""

    mc: list[str] = []
    gen: list[str] = []
    loss: list[str] = Field(default=[], description="built-in sources whose held-out loss is measured")
    num_fewshot: dict[str, int] = {}
    metric: dict[str, str] = Field(
        default={}, description="maps a task to a metric; default: acc for MC, the task's first for GEN"
    )
    chat_template: list[str] = Field(default=[], description="tasks whose prompts go through the model's chat template")
    limit: int | None = Field(None, ge=1, description="items per task; null: all")
    loss_sequences: int = Field(64, ge=1)
    loss_tokens: int = Field(512, ge=8)

    @model_validator(mode="after")
    def _chats(self) -> "Suite":
        for task in self.chat_template:
            if task not in (*self.mc, *self.gen):
                raise ValueError(f"chat_template names '{task}', which is neither in mc nor in gen; add it there")
        return self


class Evaluation(Section):
    """How the suite is scored; ``suite`` names an entry of suites."""

    suite: str
    backend: Literal["hf", "vllm", "layers"] = "hf"
    batch_size: int = Field(64, ge=1)
    max_length: int | None = Field(None, ge=8)
    include: str = "data/tasks"
    allow_code_execution: bool = False
    seed: int = Field(0, ge=0)


class Rank(Section):
    """The comparison of hidden states on held-out sequences (docs/analysis.md, "Rank of hidden states")."""

    sequences: int = Field(8, ge=0, description="sequences of each source, after the calibration's; 0: no comparison")
