"""Scores on tasks of the last candidates of a search."""

from collections.abc import Sequence
from pathlib import Path

from ream.core.recipe import Recipe
from ream.evaluation.bench import Bench
from ream.params import Params, Suite
from ream.params.search import SUITE_MEANS
from ream.search.session import Session


def tasks_of(params: Params) -> list[str]:
    """The objectives that are tasks of the suite, or means of them."""
    return [name for name in params.search.names(params.run.sources) if name not in params.run.sources]


def suite_of(suite: Suite, objectives: Sequence[str]) -> Suite:
    """The part of a suite that the objectives need, without held-out loss."""
    wanted = {
        kind: [task for task in getattr(suite, kind) if kind in objectives or task in objectives]
        for kind in SUITE_MEANS
    }
    tasks = {task for own in wanted.values() for task in own}
    return suite.model_copy(
        update={
            **wanted,
            "loss": [],
            "chat_template": [task for task in suite.chat_template if task in tasks],
            "generation": {task: own for task, own in suite.generation.items() if task in tasks},
        }
    )


class Scorer:
    """Scores models on the tasks that are objectives, with everything shared between them loaded once."""

    def __init__(self, session: Session, windows: Path) -> None:
        """Args:
        session: the search.
        windows: the file of the held-out windows, beside which the items of the demo tasks lie.

        Raises:
            UserError: see `Bench`.
        """
        params = session.params
        self._objectives, self._state = tasks_of(params), session.asked.state
        name = params.evaluation.suite
        suites = {**params.suites, name: suite_of(params.suites[name], self._objectives)}
        original = session.original
        self._bench = Bench(
            params.model_copy(update={"suites": suites}), windows, original.checkpoint, original.architecture,
            original.manifest.digest, session.asked.scratch,
        )  # fmt: skip

    def scores(self, name: str, recipe: Recipe) -> dict[str, float]:
        """Objective to the score of a model in percent; finished tasks of a killed run are not run again.

        Args:
            name: of the mix, whose recipe is always the same in a state.
            recipe: of the model.
        """
        cell = self._bench.score(recipe, self._state / f"scores-{name}", f"search-{name}")
        means = {"mc": cell.mc, "gen": cell.gen}
        found = {}
        for objective in self._objectives:
            value = means[objective] if objective in means else cell.tasks[objective].value
            assert value is not None
            found[objective] = value
        return found
