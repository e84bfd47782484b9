"""What rows of a router stand for that give logits but have no expert: found by what the experts are handed."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ream.errors import one_line
from ream.models.family.beyond import Beyond
from ream.models.family.derived.one_expert import one_expert
from ream.models.family.derived.probe import Probe
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.router_tensors import ModuleRouter

WEIGHT = 0.625  # exact in every dtype
RAISED = 1024.0


def beyond_of(
    block: Any, routers: Iterable[ModuleRouter], ask: Callable[[], Probe], experts: int, module: Any, hidden: int
) -> Beyond | None:
    """What the rows behind the experts' stand for; None where the router gives N logits.

    Args:
        block: in float32, with values.
        routers: the router's tensors. Its biases are raised for these rows, so that they are selected.
        ask: gives the decision of the block.
        experts: N.
        module: the experts module with weights, which may be those of a few experts alone.
        hidden: H, of the experts' inputs.

    Raises:
        NotDerivableError: they stand for something else than nothing and the identity.
    """
    logits = ask().logits.shape[1]
    rows = logits - experts
    if not rows:
        return None
    unknown = f"its router gives {logits} logits for {experts} experts"
    if rows < 0:
        raise NotDerivableError(unknown)
    tensors = block.state_dict(keep_vars=True)
    biases = [(tensors[router.name].data, router.axis) for router in routers if not router.matrix]
    for bias, axis in biases:
        bias.narrow(axis, experts, rows).add_(RAISED)
    probe = ask()
    for bias, axis in biases:
        bias.narrow(axis, experts, rows).sub_(RAISED)
    if int(probe.indices.max()) < experts:
        nothing = probe.weights == 0
        if not bool(nothing.any()) or bool((probe.indices[nothing] != 0).any()):
            raise NotDerivableError(f"{unknown}, and what the others stand for was not found")
        return Beyond(rows, masked=True)
    x = torch.randn(len(probe.x), hidden, generator=torch.Generator().manual_seed(5))
    try:
        answers = [one_expert(module, x, index, WEIGHT) for index in range(experts, experts + rows)]
    except PROBED as error:
        raise NotDerivableError(f"{unknown}, and its experts do not take the others: {one_line(error)}") from error
    for identity, expected in ((True, WEIGHT * x), (False, torch.zeros_like(x))):
        if all(torch.equal(answer, expected) for answer in answers):
            return Beyond(rows, identity=identity)
    raise NotDerivableError(f"{unknown}, and the others stand for something else than nothing and the identity")
