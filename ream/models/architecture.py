"""What a checkpoint is: its family, its MoE layers, and which of its tensors belong to which expert."""

import re
from dataclasses import dataclass
from typing import Any, Protocol

from ream.errors import UserError
from ream.models.checkpoint import Checkpoint
from ream.models.families import Family, family_of


@dataclass(frozen=True)
class Role:
    """What a tensor is to its MoE layer: an expert's projection, or the router's rows (expert and projection None)."""

    layer: int
    expert: int | None = None
    projection: str | None = None


@dataclass(frozen=True)
class Architecture:
    """A model's numbers as the method needs them.

    Attributes:
        family: its layout on disk.
        layers: decoder layers.
        moe_layers: indices of those with routed experts, ascending.
        experts: N. top_k: k. hidden: H. width: D. router_groups: n_group (1: none).
        roles: tensor name to Role, for tensors of routed experts and routers.
    """

    family: Family
    layers: int
    moe_layers: tuple[int, ...]
    experts: int
    top_k: int
    hidden: int
    width: int
    router_groups: int
    roles: dict[str, Role]

    def expert_name(self, layer: int, expert: int, projection: str) -> str:
        """Name on disk of one projection of one expert."""
        return self.block_prefix(layer) + self.family.projections[projection].format(expert=expert)

    def layer_prefix(self, layer: int) -> str:
        return self.family.layer_prefix.format(layer=layer)

    def block_prefix(self, layer: int) -> str:
        """Prefix of the tensors of a layer's MoE block."""
        return f"{self.layer_prefix(layer)}{self.family.moe}."


class Sizes(Protocol):
    """The numbers that limit how many experts can be kept: an Architecture, or a manifest."""

    @property
    def experts(self) -> int: ...
    @property
    def top_k(self) -> int: ...
    @property
    def router_groups(self) -> int: ...


def check_kept(model: Sizes, kept: int) -> None:
    """Refuse a number of experts that the model cannot be left with.

    Raises:
        UserError: K > N, K < k, or K does not divide into the router's groups.
    """
    if kept > model.experts:
        raise UserError(f"experts: {kept} is more than the model's {model.experts}; keep at most {model.experts}")
    if kept < model.top_k:
        raise UserError(
            f"experts: {kept} is fewer than the {model.top_k} experts each token selects; keep at least {model.top_k}"
        )
    if kept % model.router_groups:
        raise UserError(f"experts: {kept} does not divide into the router's {model.router_groups} groups")


def check_group_size(model: Sizes, kept: int, group_size: int) -> None:
    """Refuse a C with which pseudo-pruning would leave experts over.

    Raises:
        UserError: K·C < N − K in a router group.
    """
    block, stay = model.experts // model.router_groups, kept // model.router_groups
    if stay * group_size < block - stay:
        raise UserError(
            f"group size {group_size}: {stay} centroids cannot absorb the other {block - stay} experts; "
            f"use at least {-(-(block - stay) // stay)} or keep more experts"
        )


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Read the numbers off config and tensor names, and check that every expert is there with the right shape.

    Raises:
        UserError: no MoE, an unknown family, a missing number, missing tensors or unexpected shapes.
    """
    config, where = checkpoint.config, str(checkpoint.folder)
    family = family_of(config, where)
    experts = next((config[key] for key in family.experts_keys if key in config), None)
    if not experts:
        raise UserError(
            f"{where}: config.json says {experts} experts under {family.experts_keys}: no Mixture-of-Experts"
        )
    for key in ("num_hidden_layers", "hidden_size", family.top_k_key, family.width_key):
        if key not in config:
            raise UserError(f"{where}: config.json lacks {key}; fetch it again")
    roles = _roles(checkpoint, family)
    moe_layers = tuple(sorted({role.layer for role in roles.values()}))
    if not moe_layers:
        raise UserError(f"{where}: no tensor is named like {family.layer_prefix}{family.moe}.{family.gate}")
    architecture = Architecture(
        family=family,
        layers=config["num_hidden_layers"],
        moe_layers=moe_layers,
        experts=experts,
        top_k=config[family.top_k_key],
        hidden=config["hidden_size"],
        width=config[family.width_key],
        router_groups=_router_groups(config, family),
        roles=roles,
    )
    _check_tensors(checkpoint, architecture)
    return architecture


def _router_groups(config: dict[str, Any], family: Family) -> int:
    return int(config.get(family.router_groups_key) or 1) if family.router_groups_key else 1


def _roles(checkpoint: Checkpoint, family: Family) -> dict[str, Role]:
    def pattern(template: str) -> re.Pattern[str]:
        whole = re.escape(f"{family.layer_prefix}{family.moe}.{template}")
        return re.compile(whole.replace(r"\{layer\}", r"(?P<layer>\d+)").replace(r"\{expert\}", r"(?P<expert>\d+)"))

    projections = {name: pattern(template) for name, template in family.projections.items()}
    routers = [pattern(template) for template in family.router]
    roles = {}
    for name in checkpoint.tensors:
        for projection, expression in projections.items():
            if match := expression.fullmatch(name):
                roles[name] = Role(int(match["layer"]), int(match["expert"]), projection)
        for expression in routers:
            if match := expression.fullmatch(name):
                roles[name] = Role(int(match["layer"]))
    return roles


def _check_tensors(checkpoint: Checkpoint, architecture: Architecture) -> None:
    rows: tuple[int, ...] = (architecture.width, architecture.hidden)
    expected: dict[str, tuple[int, ...]] = {}
    for layer in architecture.moe_layers:
        for router in architecture.family.router:
            expected[architecture.block_prefix(layer) + router] = (architecture.experts,)
        for expert in range(architecture.experts):
            for projection, shape in (("gate", rows), ("up", rows), ("down", rows[::-1])):
                expected[architecture.expert_name(layer, expert, projection)] = shape
    missing = [name for name in expected if name not in checkpoint.tensors]
    if missing:
        raise UserError(
            f"{checkpoint.folder}: {len(missing)} tensors are missing, the first is {missing[0]}; fetch it again"
        )
    for name, shape in expected.items():
        found = checkpoint.tensors[name].shape
        if found[: len(shape)] != shape:
            raise UserError(f"{checkpoint.folder}: {name} has shape {list(found)}, its config says {list(shape)}")
    surplus = [name for name in architecture.roles if name not in expected]
    if surplus:
        raise UserError(
            f"{checkpoint.folder}: {surplus[0]} is beyond the {architecture.experts} experts of config.json"
        )
