"""The numbers of a model that the method needs, and the checks of how many experts can be kept."""

from dataclasses import dataclass

from ream.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A model's numbers; an `Architecture` and a `Manifest` have them in common.

    Attributes:
        layers: number of decoder layers.
        moe_layers: indices of the layers with routed experts, ascending; those of multi-token layers count on from the
            decoder's.
        experts: N, the routed experts of a MoE layer.
        top_k: k, the experts that each token selects.
        hidden: H, the width of hidden states.
        width: D, the neurons of an expert.
        router_groups: n_group, the groups of the router; 1 where it is not limited to groups.
        router_top_groups: topk_group, the number of router groups that a token may use.
        router_group_best: number of its best experts by which a router group is scored.
    """

    layers: int
    moe_layers: tuple[int, ...]
    experts: int
    top_k: int
    hidden: int
    width: int
    router_groups: int
    router_top_groups: int
    router_group_best: int


def check_kept(model: Sizes, kept: int) -> None:
    """Refuse a number of experts K that the model cannot keep.

    Raises:
        UserError: K > N, K < k, K is not a multiple of the number of router groups, or it leaves a token too few
            experts in them.
    """
    if kept > model.experts:
        raise UserError(f"experts: {kept} is more than the model's {model.experts}; keep at most {model.experts}")
    if kept < model.top_k:
        raise UserError(
            f"experts: {kept} is fewer than the {model.top_k} experts each token selects; keep at least {model.top_k}"
        )
    groups = model.router_groups
    if kept % groups:
        nearest = [count for count in (kept - kept % groups, kept + groups - kept % groups) if count]
        raise UserError(
            f"experts: {kept} is not a multiple of the router's {groups} groups; use "
            + " or ".join(str(count) for count in nearest if count <= model.experts)
        )
    if groups > 1:
        reachable = kept // groups * model.router_top_groups
        least = max(-(-model.top_k // model.router_top_groups), model.router_group_best) * groups
        if reachable < model.top_k or kept // groups < model.router_group_best:
            raise UserError(
                f"experts: {kept} leaves {kept // groups} in each of the router's {groups} groups, and a token uses "
                f"only {model.router_top_groups} of these groups; keep at least {least}"
            )


def check_group_size(model: Sizes, kept: int, group_size: int) -> None:
    """Refuse a group size C with which K centroids cannot absorb all other experts (pseudo-pruning).

    Raises:
        UserError: K·C < N − K within a router group.
    """
    block, stay = model.experts // model.router_groups, kept // model.router_groups
    if stay * group_size < block - stay:
        raise UserError(
            f"group size {group_size}: {stay} centroids cannot absorb the other {block - stay} experts; "
            f"use at least {-(-(block - stay) // stay)} or keep more experts"
        )
