"""Sections suites, evaluation and rank: how models are measured."""

from typing import Any, Literal

from pydantic import Field, model_validator

from ream.params.endpoint import Endpoint
from ream.params.section import Section


class Generation(Section):
    """How the answers to a task are generated; what is not given stays as the task has it, greedy where pinned.

    A temperature above 0 samples; ``do_sample: false`` or a temperature of 0 is greedy.
    """

    max_gen_toks: int | None = Field(None, ge=1, description="the most tokens of an answer")
    temperature: float | None = Field(None, ge=0, description="of sampling; 0: greedy")
    top_p: float | None = Field(None, gt=0, le=1, description="sample among the most likely of this probability")
    top_k: int | None = Field(None, ge=1, description="sample among this many")
    min_p: float | None = Field(None, ge=0, le=1, description="sample above this fraction of the highest probability")
    repetition_penalty: float | None = Field(None, gt=0, description="of tokens that have come before; 1: none")
    do_sample: bool | None = Field(None, description="sample, or be greedy")
    until: list[str] | None = Field(None, description="texts that end an answer, in place of the task's")

    @model_validator(mode="after")
    def _sampling(self) -> "Generation":
        samples, greedy = bool(self.temperature), self.do_sample is False
        if greedy and samples:
            raise ValueError("do_sample: false and a temperature above 0 contradict each other; give one of them")
        if self.do_sample and not samples:
            raise ValueError("do_sample: true needs a temperature above 0; add it")
        for name in ("top_p", "top_k", "min_p"):
            if getattr(self, name) is not None and not samples:
                raise ValueError(f"{name} does nothing without a temperature above 0; add one or leave it out")
        return self

    @property
    def given(self) -> dict[str, Any]:
        """What lm-eval is told, over the task's own settings."""
        told = self.model_dump(exclude_none=True)
        if self.temperature is not None or self.do_sample is not None:
            told |= {"do_sample": bool(self.temperature), "temperature": self.temperature or 0.0}
        return told


class Suite(Section):
    """Tasks of lm-eval or data/tasks: multiple-choice (MC) and generative (GEN) tasks, and held-out loss."""

    mc: list[str] = Field(default=[], description="multiple-choice tasks")
    gen: list[str] = Field(default=[], description="generative tasks")
    loss: list[str] = Field(
        default=[],
        description="sources whose held-out loss is measured: built-in text (general, math, code), or entries of "
        "sources with held_out",
    )
    num_fewshot: dict[str, int] = Field(default={}, description="maps a task to its examples; default: the task's own")
    metric: dict[str, str] = Field(
        default={}, description="maps a task to a metric; default: acc for MC, the task's first for GEN"
    )
    chat_template: list[str] = Field(default=[], description="tasks whose prompts go through the model's chat template")
    chat_template_args: dict[str, bool | int | float | str] = Field(
        default={}, description="variables of the chat template, such as enable_thinking"
    )
    think_end_token: str | None = Field(
        None, pattern=r"\D", description="what ends thinking, such as </think>; scored is what follows the last one"
    )
    generation: dict[str, Generation] = Field(default={}, description="maps a GEN task to how answers are generated")
    limit: int | None = Field(None, ge=1, description="items per task; null: all")
    loss_sequences: int = Field(
        64, ge=1, description="windows of each source of loss; of own text, which may have fewer, at most"
    )
    loss_tokens: int = Field(512, ge=8, description="tokens of a window")

    @model_validator(mode="after")
    def _chats(self) -> "Suite":
        for task in self.chat_template:
            if task not in (*self.mc, *self.gen):
                raise ValueError(f"chat_template names '{task}', which is neither in mc nor in gen; add it there")
        if self.chat_template_args and not self.chat_template:
            raise ValueError("chat_template_args do nothing without chat_template; name tasks there")
        for task in self.generation:
            if task not in self.gen:
                allowed = ", ".join(self.gen) or "none"
                raise ValueError(f"generation names '{task}', which is not in gen; its tasks are: {allowed}")
        return self


class Evaluation(Section):
    """How the suite is scored; ``suite`` names an entry of suites."""

    suite: str = Field(description="a name in suites")
    backend: Literal["hf", "vllm", "layers", "endpoint"] = Field(
        "hf", description="what runs the model (docs/evaluation.md)"
    )
    batch_size: int = Field(64, ge=1, description="prompts at once")
    max_length: int | None = Field(None, ge=8, description="tokens of a prompt and its answer; null: the model's")
    include: str = Field("data/tasks", description="folder of further tasks, as task files of lm-eval")
    allow_code_execution: bool = Field(False, description="run code that the model writes, where a task asks for it")
    seed: int = Field(0, ge=0, description="of few-shot examples, demo items and sampling")
    device_map: Literal["auto"] | None = Field(
        None, description="auto: the backend hf spreads a model over all GPUs, the host's memory and the disk"
    )
    vllm: dict[str, Any] = Field(default={}, description="arguments of the engine of the backend vllm")
    endpoint: Endpoint | None = Field(None, description="the server of the backend endpoint")

    @model_validator(mode="after")
    def _has_endpoint(self) -> "Evaluation":
        if self.backend == "endpoint" and self.endpoint is None:
            raise ValueError("backend: endpoint needs evaluation.endpoint with base_url and model; add them")
        return self


class Rank(Section):
    """The comparison of hidden states on held-out sequences (docs/analysis.md, "Rank of hidden states")."""

    sequences: int = Field(8, ge=0, description="sequences of each source, after the calibration's; 0: no comparison")
