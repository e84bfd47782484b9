"""What the functions of the Python API return: frozen, with the lines and warnings that the command line prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ream.core.recipe import Recipe
from ream.estimate.needs import Estimate
from ream.evaluation.fidelity_records import Measures
from ream.evaluation.scores import Scores
from ream.recipe.provenance import Provenance


@dataclass(frozen=True)
class Compressed:
    """A compressed model that was written.

    Attributes:
        out: its folder, which transformers and vLLM load.
        recipe: every decision, with which `ream.apply` writes the model again.
        recipe_path: the recipe's file.
        made: method, mix, and of which original.
        parameters: of the compressed model.
        parameters_before: of the original.
        lines: what each step said.
        warnings: what may be unwelcome in the output.
    """

    out: Path
    recipe: Recipe = field(repr=False)
    recipe_path: Path
    made: Provenance
    parameters: int
    parameters_before: int
    lines: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """Parameters of the compressed model divided by the original's."""
        return self.parameters / self.parameters_before


@dataclass(frozen=True)
class Evaluation:
    """Scores of one model, and of further ones that were scored in the same call.

    Attributes:
        model: hub id or folder.
        made: how it was made, if ream compressed it; None for an original.
        loss: source to its held-out loss, in nats a token.
        tasks: task to its score, in percent.
        mean_loss: plain mean over the sources; None without any.
        mc: mean of the multiple-choice tasks, in percent; None without any.
        gen: mean of the generative tasks, in percent; None without any.
        parameters: of the model.
        scores: everything of all models, with standard errors, settings and versions, as `ream evaluate --out` writes
            it.
        others: the scores of the other models, in the order of their recipes.
        lines: what each step said.
        warnings: what is to be told about the answers.
    """

    model: str
    made: Provenance | None
    loss: Mapping[str, float]
    tasks: Mapping[str, float]
    mean_loss: float | None
    mc: float | None
    gen: float | None
    parameters: int
    scores: Scores = field(repr=False)
    others: "tuple[Evaluation, ...]" = ()
    lines: tuple[str, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """How close the predictions of one model are to another's.

    Attributes:
        original: hub id or folder.
        other: the model that is compared with it.
        texts: of each text, the KL divergence, top-1 agreement, perplexity ratio and losses, with 95% intervals.
        mean: plain means over the texts.
        table: the same as lines of a table.
        lines: what was said beside the table.
    """

    original: str
    other: str
    texts: Mapping[str, Measures]
    mean: Measures
    table: str = field(repr=False)
    lines: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Estimated:
    """What a compression would need.

    Attributes:
        figures: names and values as `ream estimate` prints them.
        needs: the same in numbers: parameters, bytes, memory and arithmetic.
        shortfall: why this machine cannot run it; None where it can.
        warnings: what may be unwelcome in the output.
    """

    figures: Mapping[str, str]
    needs: Estimate = field(repr=False)
    shortfall: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether this machine has the memory and the disk."""
        return self.shortfall is None


@dataclass(frozen=True)
class Inspected:
    """What a model is.

    Attributes:
        figures: names and values as `ream inspect` prints them.
        warnings: remarks on the checkpoint.
    """

    figures: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """A written model that is as it was written.

    Attributes:
        out: its folder.
        made: method, mix, and of which original.
        figures: names and values as `ream verify` prints them.
    """

    out: Path
    made: Provenance
    figures: Mapping[str, str]
