"""The suite that imported scores must match: its tasks, and which of them a row must have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ream.analysis.results.rows import ROLES, TASKS, Score
from ream.errors import UserError
from ream.evaluation.scores import suite_means


@dataclass(frozen=True)
class Suites:
    """The suite's tasks by their names in params.yaml.

    Attributes:
        mc: tasks whose mean is MC.
        gen: tasks whose mean is GEN.
        metrics: task to the metric that the suite chooses for it.
    """

    mc: tuple[str, ...]
    gen: tuple[str, ...]
    metrics: Mapping[str, str]

    @property
    def names(self) -> dict[str, str]:
        """Task to its name in tables."""
        return {task: TASKS.get(task, task) for task in (*self.mc, *self.gen)}

    def split(self, where: str, scores: Mapping[str, Score]) -> tuple[dict[str, Score], dict[str, Score]]:
        """Scores of MC's and of GEN's tasks, by their names in tables.

        Args:
            where: name of the row in messages.
            scores: task, by either of its names, to score; other tasks are ignored.

        Raises:
            UserError: some but not all tasks of a mean are missing, or all tasks of both.
        """
        suites = []
        for kind, tasks in (("MC", self.mc), ("GEN", self.gen)):
            names = {task: name for task in tasks if (name := _named(task, scores)) is not None}
            missing = [task for task in tasks if task not in names]
            if names and missing:
                raise UserError(
                    f"{where}: no value for {', '.join(missing)}; {kind} is the mean of {', '.join(tasks)}: give all "
                    "of them, or none"
                )
            suites.append({TASKS.get(task, task): scores[name] for task, name in names.items()})
        if not any(suites):
            wanted = ", ".join((*self.mc, *self.gen))
            raise UserError(f"{where}: no value for any task of the suite; it has {wanted or 'none'}")
        return suites[0], suites[1]

    def means(self, mc: Mapping[str, Score], gen: Mapping[str, Score]) -> dict[str, float | None]:
        """{mc, gen, avg} of complete tasks, formed as our own; None where a suite has no scores."""
        values = {name: score.value for name, score in {**mc, **gen}.items()}
        return suite_means(values, list(mc), list(gen))

    def ordered(self, where: str, ratios: Mapping[str, float], roles: Sequence[str]) -> dict[str, float]:
        """A mix's ratios by their sources' names in tables, first those of the roles in their order, then others.

        Raises:
            UserError: two sources have the same role.
        """
        named = {ROLES.get(source, source): ratio for source, ratio in ratios.items()}
        if len(named) < len(ratios):
            raise UserError(f"{where}: the mix has two sources of one kind: {', '.join(ratios)}; merge them into one")
        order = [*roles, *(source for source in named if source not in roles)]
        return {source: named[source] for source in order if source in named}


def _named(task: str, scores: Mapping[str, Score]) -> str | None:
    """The name under which a task is among the scores; None where it is not."""
    return next((name for name in (task, TASKS.get(task, task)) if name in scores), None)
