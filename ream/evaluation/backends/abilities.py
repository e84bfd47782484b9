"""What each backend can do, and what a task needs of it: compared before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from ream import params
from ream.errors import UserError


class Need(Enum):
    """What a task, or a model that is scored, needs of a backend, in words that follow its name."""

    LIKELIHOODS = "asks how likely given text is"
    GENERATION = "generates text"
    PLAIN_PROMPTS = "has prompts that do not go through the chat template"
    RECIPES = "is a recipe and no checkpoint"


@dataclass(frozen=True)
class Abilities:
    """What a backend can do.

    Attributes:
        name: how settings name the backend.
        lacks: what it cannot do, with the reason.
    """

    name: str
    lacks: Mapping[Need, str] = field(default_factory=dict)

    def check(self, what: str, need: Need, remedy: str) -> None:
        """Refuse what the backend cannot do.

        Args:
            what: it is needed for, as "task 'mmlu'".
            need: what is needed.
            remedy: what to do beside another backend.

        Raises:
            UserError: names what needs it, the backend, the reason, and the backends that can.
        """
        if need not in self.lacks:
            return
        able = " or ".join(sorted(other.name for other in ALL if need not in other.lacks and other.name != self.name))
        raise UserError(
            f"{what} {need.value}, which evaluation.backend: {self.name} cannot do, {self.lacks[need]}; {remedy}, or "
            f"set the backend to {able}"
        )


HF = Abilities("hf")
VLLM = Abilities("vllm")
LAYERS = Abilities("layers", {Need.GENERATION: "because every token would take a walk through all layers"})
_SERVED = {Need.RECIPES: "because the server has a model of its own"}
COMPLETIONS = Abilities("endpoint", _SERVED)
CHAT = Abilities(
    "endpoint",
    {
        **_SERVED,
        Need.LIKELIHOODS: "because evaluation.endpoint.api: chat gives answers only (api: completions can give more)",
        Need.PLAIN_PROMPTS: "because evaluation.endpoint.api: chat takes messages only (api: completions takes both)",
    },
)
ALL = (HF, VLLM, LAYERS, COMPLETIONS)


def abilities_of(evaluation: params.Evaluation) -> Abilities:
    """The abilities of the backend that the settings name."""
    if evaluation.backend == "endpoint" and evaluation.endpoint is not None and evaluation.endpoint.api == "chat":
        return CHAT
    return next(abilities for abilities in ALL if abilities.name == evaluation.backend)


def needs_of(output_type: str | None, chats: bool) -> list[Need]:
    """What a task needs.

    Args:
        output_type: lm-eval's: ``generate_until``, or one of those that ask for likelihoods; None where it is not
            known before the task is loaded.
        chats: whether its prompts go through the chat template.
    """
    if output_type is None:
        return []
    kind = [Need.GENERATION] if output_type == "generate_until" else [Need.LIKELIHOODS]
    return kind if chats else [*kind, Need.PLAIN_PROMPTS]


def check_task(name: str, output_type: str | None, suite: params.Suite, evaluation: params.Evaluation) -> None:
    """Refuse a task that the backend cannot run.

    Args:
        name: name of the task.
        output_type: see `needs_of`.
        suite: says whether its prompts go through the chat template.
        evaluation: names the backend.

    Raises:
        UserError: the backend lacks what the task needs.
    """
    for need in needs_of(output_type, name in suite.chat_template):
        abilities_of(evaluation).check(f"task '{name}'", need, "leave the task out of the suite")


def check_loss(suite: params.Suite, evaluation: params.Evaluation) -> None:
    """Refuse held-out losses where the backend does not say how likely text is.

    Raises:
        UserError: the backend lacks it.
    """
    if suite.loss:
        abilities_of(evaluation).check("the suite's loss", Need.LIKELIHOODS, "leave loss out of the suite")


def check_recipes(what: str, evaluation: params.Evaluation) -> None:
    """Refuse models that exist as a recipe only where the backend cannot make them.

    Args:
        what: is such a model, for the message.
        evaluation: names the backend.

    Raises:
        UserError: the backend is endpoint.
    """
    abilities_of(evaluation).check(
        what, Need.RECIPES, "write the model with `ream apply`, serve it, and evaluate its folder with `ream evaluate`"
    )
