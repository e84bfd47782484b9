"""Finding and loading tasks without reading the YAML files of all 14,700 tasks of lm-eval."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

from ream.errors import UserError
from ream.evaluation.code_eval import own_metrics
from ream.evaluation.lm_eval_types import LoadedTasks, Task, TaskManager
from ream.evaluation.pinned import PINNED
from ream.evaluation.task_files import check_task_files


def find_tasks(names: Iterable[str], include: Path, items: Path | None) -> dict[str, TaskManager]:
    """For each task the lm-eval TaskManager that knows it: of ``include``, of a pinned task's folder, or of all tasks.

    Indexing all tasks of lm-eval takes about 15 s, so it is done only for a name that the others don't know.

    Args:
        names: names of tasks or groups.
        include: folder of task files, which take precedence.
        items: folder of items, which the tasks of ``include`` get as the keyword ``items`` of their ``custom_dataset``.

    Raises:
        UserError: a name is unknown; the message suggests the nearest one. Or see `check_task_files`.
    """
    import lm_eval.tasks

    check_task_files(include)
    metadata = {"items": str(items)} if items is not None else {}
    included: TaskManager = lm_eval.tasks.TaskManager(
        include_path=str(include), include_defaults=False, metadata=metadata
    )
    root = Path(lm_eval.tasks.__file__).parent
    managers: dict[str, TaskManager] = {}
    everything: TaskManager | None = None
    for name in names:
        if name in included.task_index:
            managers[name] = included
        elif name in PINNED:
            folder = root / PINNED[name].folder  # that of a task of ours is absolute, which leaves root out
            managers[name] = lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False)
        else:
            everything = everything or _everything()
            if name not in everything.task_index:
                raise _unknown(name, [*included.all_tasks, *everything.all_tasks], include)
            managers[name] = everything
    return managers


def runs_code(name: str, manager: TaskManager) -> bool:
    """Whether a task is known to execute code written by the model, from its YAML alone, without loading the task."""
    config = manager.task_index[name].cfg or {}
    return bool(config.get("unsafe_code")) or (name in PINNED and PINNED[name].runs_code)


def output_type(name: str, manager: TaskManager) -> str | None:
    """Lm-eval's output type of a task, from its YAML or as pinned; None where only loading it shows it."""
    found = (manager.task_index[name].cfg or {}).get("output_type")
    if isinstance(found, str):
        return found
    return PINNED[name].output_type if name in PINNED else None


def load_task(name: str, manager: TaskManager) -> LoadedTasks:
    """A task, or all tasks of a group, with their data.

    Raises:
        UserError: the data set cannot be read, or a package that the task needs is missing.
    """
    _forget_helpers()
    try:
        with own_metrics():
            loaded = manager.load([name])
    except ImportError as error:
        missing = error.name or str(error)
        raise UserError(f"task '{name}' needs the package {missing}; pip install {missing}") from None
    except OSError as error:  # errors of the hub and of datasets are subclasses of it
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"task '{name}': its data set cannot be read: {reason}; check the network and, if the data set is gated, "
            "accept its terms on its page and run `hf auth login`"
        ) from None
    for task in loaded["tasks"].values():
        process_once(task)
    return loaded


def process_once(task: Task) -> None:
    """Run a task's ``process_docs`` once and keep the result for prompts, scoring and few-shot examples.

    lm-eval runs it each time it asks for the documents. GPQA's shuffles the choices from one random stream, so in
    lm-eval 0.4.13 a prompt and its key come from different shuffles, every model scores at chance, and a question can
    be among its own few-shot examples.
    """
    process = task.config.process_docs
    if process is None:
        return
    config, fewshot = task.config, task.fewshot_cfg
    splits = (config.training_split, config.validation_split, config.test_split, fewshot.split)
    used = sorted({split for split in splits if split is not None})
    task.dataset = {split: process(task.dataset[split]) for split in used}
    config.process_docs = None
    if fewshot.process_docs is process:
        fewshot.process_docs = None
        if hasattr(task, "sampler"):
            task.sampler.replace_df(list(task.fewshot_docs()))


def _everything() -> TaskManager:
    """All tasks of lm-eval; indexing them takes about 15 s."""
    import lm_eval.tasks

    manager: TaskManager = lm_eval.tasks.TaskManager()
    return manager


def _forget_helpers() -> None:
    """Drop the helper modules of tasks: some hold a random stream, and a task must not depend on what ran before."""
    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.")]:
        if "__mtime__" in vars(sys.modules[name]):  # set by lm-eval's loader of helpers
            del sys.modules[name]


def _unknown(name: str, known: Iterable[str], include: Path) -> UserError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(
        f"task '{name}' is unknown; {hint}tasks are those of lm-eval (see `lm-eval ls tasks`) and {include}"
    )
