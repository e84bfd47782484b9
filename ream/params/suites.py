"""Sections suites, evaluation and rank: what models are measured by."""

from typing import Literal

from pydantic import Field, model_validator

from ream.params.section import Section


class Suite(Section):
    """A named list of tasks of lm-eval or of data/tasks: multiple-choice (MC), generative (GEN), held-out loss."""

    mc: list[str] = []
    gen: list[str] = []
    loss: list[str] = Field(default=[], description="built-in sources whose held-out loss is measured")
    num_fewshot: dict[str, int] = {}
    metric: dict[str, str] = Field(default={}, description="metric of a task; acc for MC and the task's first for GEN")
    chat_template: list[str] = Field(default=[], description="tasks put to the model through its chat template")
    limit: int | None = Field(None, ge=1, description="items of each task")
    loss_sequences: int = Field(64, ge=1)
    loss_tokens: int = Field(512, ge=8)

    @model_validator(mode="after")
    def _chats(self) -> "Suite":
        for task in self.chat_template:
            if task not in (*self.mc, *self.gen):
                raise ValueError(f"chat_template names '{task}', which is no task of the suite")
        return self


class Evaluation(Section):
    """How suites are run."""

    suite: str
    backend: Literal["hf", "vllm"] = "hf"
    batch_size: int = Field(64, ge=1)
    max_length: int | None = Field(None, ge=8)
    include: str = "data/tasks"
    allow_code_execution: bool = False
    seed: int = Field(0, ge=0)


class Rank(Section):
    """The comparison of hidden states on held-out sequences (docs/analysis.md, "Rank of hidden states")."""

    sequences: int = Field(8, ge=0, description="of each source, beyond those of the calibration; 0: no comparison")
