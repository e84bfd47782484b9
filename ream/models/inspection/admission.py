"""The door: the one way in which commands and stages open somebody's checkpoint.

What a checkpoint must be is checked in two steps. The first reads config.json, the index and all headers, in tenths of
a second and without torch: types and ranges, names, shapes and dtypes (`Checkpoint`, `architecture_of`). The second
builds transformers' own modelling code without weights and compares every tensor with it, by name and shape
(`check_complete`): seconds, most of them to import transformers. Commands that import torch anyway, and those that
would otherwise fail after hours, take both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ream.errors import UserError
from ream.models.family.architecture import Architecture, architecture_of, without_multi_token
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_source import ShardSource

if TYPE_CHECKING:
    from ream.models.family.derived.proof_result import Proof


@dataclass(frozen=True)
class Admitted:
    """A checkpoint that has passed the door.

    Attributes:
        checkpoint: its headers; tensors are read on demand.
        architecture: its sizes, and where its tensors lie.
        proof: that its family was understood, where it was derived and weights were read.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    proof: "Proof | None" = None


def admit(
    source: ShardSource | Checkpoint,
    multi_token: str = "compress",
    *,
    against_code: bool,
    trust_remote_code: bool = False,
    prove: bool | None = None,
) -> Admitted:
    """Open a checkpoint and check all that can be known of it without its weights.

    A family without an entry is derived, and whether it was understood is proved on the weights of one layer
    (`ream.models.family.derived.proof`), which takes seconds.

    Args:
        source: of its shards; or the checkpoint, if its headers were read before.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``; dropped ones may be incomplete.
        against_code: compare all tensors with the modelling code, too, which imports transformers.
        trust_remote_code: let the model's own code run for that.
        prove: read weights of a derived family for the proof; by default if ``against_code``.

    Raises:
        UserError: there are multi-token layers that ream cannot run; or see `Checkpoint`, `architecture_of`,
            `check_complete` and `prove`.
    """
    checkpoint = source if isinstance(source, Checkpoint) else Checkpoint(source)
    architecture = architecture_of(checkpoint)
    if multi_token == "drop" and not architecture.dropped:
        architecture = without_multi_token(architecture)
    elif architecture.family.unwalked and multi_token != "drop":
        raise UserError(
            f"{checkpoint.folder}: tensors {architecture.family.unwalked[0]}* hold routed experts of layers that "
            "predict further tokens, in a form that ream cannot run; leave them out: model.multi_token: drop"
        )
    if against_code:
        from ream.models.family.complete import check_complete  # which imports torch

        check_complete(checkpoint, architecture, trust_remote_code)
    if not architecture.family.derived or not (against_code if prove is None else prove):
        return Admitted(checkpoint, architecture)
    from ream.models.family.derived import proof

    return Admitted(checkpoint, architecture, proof.prove(checkpoint, architecture))
