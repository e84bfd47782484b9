"""Scores of models on the tasks of a suite, which lm-eval runs one after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream import params
from ream.evaluation import tasks
from ream.evaluation.backends.abilities import check_loss, check_task
from ream.evaluation.backends.asking import Asking
from ream.evaluation.backends.language_models import language_model
from ream.evaluation.lm_eval_state import code_execution, quiet
from ream.evaluation.lm_eval_types import Encodings, LoadedTasks
from ream.evaluation.one_task import evaluated, run_task
from ream.evaluation.prepared import answer_tokens, prepared
from ream.evaluation.scores import suite_means
from ream.evaluation.settings import (
    check_backend,
    check_chat,
    check_code_execution,
    check_model,
    seeds_of,
    task_settings,
)
from ream.evaluation.store import ResultStore
from ream.evaluation.suite_checks import check_generation

if TYPE_CHECKING:
    from collections.abc import Callable

    from lm_eval.api.model import LM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ream.evaluation.backends.language_models import Model
    from ream.evaluation.queries import Query

    Answering = Callable[[list[Query]], Sequence[Mapping[Query, tuple[float, bool]]]]


class Harness:
    """The tasks of a suite, found and loaded once for all models that are scored on them."""

    def __init__(
        self,
        suite: params.Suite,
        evaluation: params.Evaluation,
        items: Path | None,
        special_tokens: str = "tokenizer",
    ) -> None:
        """Find the tasks, and refuse those that cannot run.

        Args:
            suite: the suite; its ``mc`` and ``gen`` tasks are run, its ``loss`` belongs to `ream.evaluation.loss`.
            evaluation: how to run it.
            items: folder of the demo tasks' items (stage items); None if the suite has no such tasks.
            special_tokens: ``tokenizer`` encodes prompts with the tokens that the tokenizer adds, ``none`` without.

        Raises:
            UserError: a task is unknown, executes code without evaluation.allow_code_execution, or needs what the
                backend cannot do; or see `check_backend`.
        """
        check_backend(evaluation)
        check_loss(suite, evaluation)
        self.suite, self.evaluation = suite, evaluation
        self.names = list(dict.fromkeys([*suite.mc, *suite.gen]))
        self._kinds: dict[str, str | None] = {}  # lm-eval's output types, where they are known
        with quiet():
            self._managers = tasks.find_tasks(self.names, Path(evaluation.include), items)
            for name in self.names:
                if tasks.runs_code(name, self._managers[name]):
                    check_code_execution(name, evaluation.allow_code_execution)
                self._kinds[name] = tasks.output_type(name, self._managers[name])
                check_task(name, self._kinds[name], suite, evaluation)
        self.settings = {name: task_settings(name, suite, evaluation, items, special_tokens) for name in self.names}
        self._special_tokens = special_tokens
        self._loaded: dict[str, LoadedTasks] = {}
        self._encodings: Encodings = {}

    def load(self, progress: ResultStore | None, positions: int | None = None) -> None:
        """Load the tasks that have no result yet, with their data, so that what cannot run fails before a model runs.

        Args:
            progress: store of finished results.
            positions: the most tokens of question and answer together; None for no limit.

        Raises:
            UserError: a task lacks data, packages or the metric, executes code without being allowed to, needs what the
                backend cannot do, or generates more tokens than there are positions.
        """
        finished, allowed = self._finished(progress), self.evaluation.allow_code_execution
        with quiet(), code_execution(allowed):
            for name in (name for name in self.names if name not in finished):
                if name not in self._loaded:
                    self._loaded[name] = prepared(name, self._managers[name], self.settings[name], allowed)
                for task in self._loaded[name]["tasks"].values():
                    self._kinds[name] = task.OUTPUT_TYPE
                    check_task(name, task.OUTPUT_TYPE, self.suite, self.evaluation)
                    if task.OUTPUT_TYPE == "generate_until":
                        check_generation(name, answer_tokens(task), positions)

    @property
    def asks_likelihoods(self) -> str | None:
        """The first task, as "task 'NAME'", that is known to ask how likely text is; None where none is."""
        asking = [name for name, kind in self._kinds.items() if kind not in (None, "generate_until")]
        return f"task '{asking[0]}'" if asking else None

    def finished(self, progress: ResultStore) -> list[str]:
        """Names of the tasks whose results are in the store."""
        return list(self._finished(progress))

    def _finished(self, progress: ResultStore | None) -> dict[str, dict[str, Any]]:
        """The results in the store."""
        done = {name: progress.read(name, self.settings[name]) for name in self.names} if progress is not None else {}
        return {name: result for name, result in done.items() if result is not None}

    def score(
        self,
        model: "Model",
        tokenizer: "PreTrainedTokenizerBase | None",
        progress: ResultStore | None,
    ) -> dict[str, Any]:
        """Scores of a model on the tasks of the suite.

        All tasks are loaded (`load`) before the model runs for the first time.

        Args:
            model: a causal language model of transformers; for the backend vllm a checkpoint folder or hub id, for
                endpoint a `Connection`.
            tokenizer: tokenizer of the model, the same for all models; None for the backend vllm, which reads the
                tokenizer of the checkpoint.
            progress: store of finished results. Results in it are not computed again, and new ones are added.

        Returns:
            {tasks: {name: `ream.evaluation.scores.TaskScore` as plain values}, mc, gen, avg}, scores in percent. mc and
            gen are the plain means over their tasks, avg is the mean of the two; None without tasks.

        Raises:
            UserError: a task lacks data, packages or the metric; vllm gets a model in memory; or the tokenizer has no
                chat template where one is needed.
        """
        check_model(model, self.evaluation.backend)
        check_chat(tokenizer, self.suite.chat_template, self.suite.chat_template_args)
        results = self._finished(progress)
        missing = [name for name in self.names if name not in results]
        if missing:
            self.load(progress)
            results |= self._computed(missing, model, tokenizer, progress)
        return self._scores(results)

    def by_layers(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        answer: "Answering",
        stores: Sequence[ResultStore | None] = (None,),
    ) -> list[dict[str, Any]]:
        """For each of several models that are walked side by side its scores, all tasks in one walk.

        Args:
            model: transformers' model without weights, whose configuration is read; that of any of the models.
            tokenizer: tokenizer of the models.
            answer: gives for each model the answers to all questions of all tasks.
            stores: for each model, takes the results and the answers.

        Returns:
            For each model as `score`.

        Raises:
            UserError: a task generates text, or what the walk refuses.
        """
        from ream.evaluation.layers_lm import LayersLM

        self.load(None)
        scores = []
        with quiet():
            lm = LayersLM(model, tokenizer, self.evaluation.max_length, self._adds_special_tokens, self._encodings)
            for name in self.names:
                evaluated(lm, self._loaded[name], self.settings[name], allow_code=False, bootstrap=0)
            for known, store in zip(answer(list(lm.asked)), stores, strict=True):
                lm.answers = known
                scores.append(self._scores(self._run(lm, self.names, store, allow_code=False)))
        return scores

    @property
    def _adds_special_tokens(self) -> bool | None:
        """Lm-eval's ``add_bos_token``; None leaves it to the tokenizer."""
        return None if self._special_tokens == "tokenizer" else False

    def _scores(self, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The results of all tasks, and their means."""
        values = {name: result["value"] for name, result in results.items()}
        return {
            "tasks": {name: results[name] for name in self.names},
            **suite_means(values, self.suite.mc, self.suite.gen),
        }

    def _computed(
        self,
        names: list[str],
        model: "Model",
        tokenizer: "PreTrainedTokenizerBase | None",
        progress: ResultStore | None,
    ) -> dict[str, dict[str, Any]]:
        """Results of the named tasks."""
        options = self.evaluation
        asking = Asking(
            options.batch_size,
            options.max_length,
            seeds_of(options.seed)["torch"],
            self._adds_special_tokens,
            {"chat_template_args": dict(self.suite.chat_template_args), "think_end_token": self.suite.think_end_token},
            options.vllm,
            self._encodings,
        )
        with quiet(), code_execution(options.allow_code_execution):
            lm = language_model(options.backend, model, tokenizer, asking)
            return self._run(lm, names, progress, options.allow_code_execution)

    def _run(
        self, lm: "LM", names: Sequence[str], progress: ResultStore | None, allow_code: bool
    ) -> dict[str, dict[str, Any]]:
        """Results of the named tasks; a result is stored as soon as its task has finished."""
        results = {}
        for name in names:
            results[name], answers = run_task(lm, name, self._loaded[name], self.settings[name], allow_code)
            if progress is not None:
                progress.write(name, self.settings[name], results[name], answers)
        return results
