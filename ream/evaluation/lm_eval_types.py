"""Types of what ream uses of lm-eval, which has no type annotations that a type checker reads."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict

Encodings = dict[tuple[object, ...], list[int]]  # (text, options of the encoding) to token ids


class TaskConfig(Protocol):
    """The splits of a task's data set, and what is done to its rows."""

    training_split: str | None
    validation_split: str | None
    test_split: str | None
    process_docs: Any  # a function of a split, or None
    generation_kwargs: Mapping[str, Any] | None


class FewshotConfig(Protocol):
    """The split of a task's few-shot examples, and what is done to its rows."""

    split: str | None
    process_docs: Any  # a function of a split, or None


class Task(Protocol):
    """A loaded task with its data (``lm_eval.api.task.ConfigurableTask``)."""

    OUTPUT_TYPE: str
    config: TaskConfig
    fewshot_cfg: FewshotConfig
    dataset: dict[str, Any]
    sampler: Any  # of few-shot examples; absent in tasks without

    def set_config(self, key: str, value: object, update: bool = False) -> None:
        """Set a field of the configuration, or update it if it is a mapping."""

    def get_config(self, key: str) -> Any:  # the type is the field's
        """A field of the configuration."""

    def set_fewshot_seed(self, seed: int) -> None:
        """Restart the random stream from which few-shot examples are drawn."""

    def fewshot_docs(self) -> Iterable[Any]:
        """Rows from which few-shot examples are drawn."""

    def aggregation(self) -> Mapping[str, object]:
        """The functions that aggregate the task's metrics, by metric."""


class LoadedTasks(TypedDict):
    """What ``TaskManager.load`` returns: a task, or the tasks of a group."""

    tasks: dict[str, Task]


class IndexEntry(Protocol):
    """A task or group that was found in a folder but is not loaded."""

    cfg: Mapping[str, Any] | None


class TaskManager(Protocol):
    """Tasks and groups found in folders of YAML files (``lm_eval.tasks.TaskManager``)."""

    task_index: Mapping[str, IndexEntry]
    all_tasks: Sequence[str]

    def load(self, names: list[str]) -> LoadedTasks:
        """Load tasks, or all tasks of groups, with their data."""
