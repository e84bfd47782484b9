"""A MoE block whose router never selects some of its experts."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from ream.models.family.derived.block_tensors import entries as entries_of
from ream.models.family.family import Family

NEVER = -1e4  # a logit with which an expert is never selected


def silence(block: Any, family: Family, experts: Collection[int], x: Tensor) -> None:
    """Change a block so that its router never selects some experts; a table has others in their places.

    Args:
        block: of transformers, in float32.
        family: how it is read.
        experts: never to be selected.
        x: [T, H] inputs on which the block is asked; all have the same sum, so that a row of equal values gives all of
            them the same logit.
    """
    stack = family.module_layout[0]
    count = len(block.get_parameter(stack.name)) - stack.beyond
    module, tensors = block.get_submodule(family.router_module), block.state_dict(keep_vars=True)
    if type(module) is nn.Linear:  # whose inputs may be others than the block's
        silenced = torch.tensor(sorted(experts))
        module.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, silenced, NEVER))
    for router in family.router:
        if router is family.router[0] and type(module) is nn.Linear:
            continue
        name = family.in_block(family.module_name(family.in_layer(router.name)))
        if name not in tensors:  # which only some layers have
            continue
        if router.numbers:
            kept = [expert for expert in range(count) if expert not in experts]
            tensors[name].data = torch.tensor(kept)[entries_of(tensors[name].data, router, kept, count)]
            continue
        entries = tensors[name].data.movedim(router.axis, 0)
        matrix = router is family.router[0]
        for expert in experts:
            entries[expert] = NEVER / float(x[0].sum()) if matrix else NEVER
