"""What a checkpoint is: its family, its MoE layers, and which of its tensors belong to which expert."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ream.errors import UserError
from ream.models.family.families import Family, RouterTensor, family_of
from ream.models.family.layout import ExpertTensor, Layout
from ream.models.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class Role:
    """What a tensor is to its MoE layer.

    Attributes:
        layer: its index; multi-token layers count on from the decoder's.
        kind: how it holds weights of experts, or which axis of a router's tensor counts experts.
        expert: of the expert whose tensor it is; None where it holds all of them.
    """

    layer: int
    kind: ExpertTensor | RouterTensor
    expert: int | None = None


@dataclass(frozen=True)
class Architecture:
    """A model's numbers as the method needs them.

    Attributes:
        family: its layout on disk. layout: the one of the family's that this checkpoint has.
        layers: decoder layers. multi_token: layers that predict further tokens, behind them.
        dropped: multi-token layers of the checkpoint that are to be left out of what is written.
        moe_layers: indices of those with routed experts, ascending; multi-token layers among them.
        experts: N. top_k: k. hidden: H. width: D.
        router_groups: n_group (1: none). router_top_groups: of these, how many a token may use.
        roles: tensor name to Role, for tensors of routed experts and routers.
    """

    family: Family
    layout: Layout
    layers: int
    multi_token: int
    dropped: int
    moe_layers: tuple[int, ...]
    experts: int
    top_k: int
    hidden: int
    width: int
    router_groups: int
    router_top_groups: int
    roles: dict[str, Role]

    @property
    def depth(self) -> int:
        """All layers that a walk goes through."""
        return self.layers + self.multi_token

    @property
    def router_group_best(self) -> int:
        return self.family.router_group_best

    def layer_prefix(self, layer: int) -> str:
        """Prefix of the tensors of a layer."""
        extra = self.family.multi_token
        if layer < self.layers or extra is None:
            return self.family.layer_prefix.format(layer=layer)
        return extra.prefix.format(layer=layer, index=layer - self.layers)

    def block_prefix(self, layer: int) -> str:
        """Prefix of the tensors of a layer's MoE block."""
        return f"{self.layer_prefix(layer)}{self.family.moe}."

    def tensor_name(self, layer: int, kind: ExpertTensor | RouterTensor, expert: int | None = None) -> str:
        """Name on disk of a tensor of a MoE block; ``expert`` where it is of one."""
        name = kind.name if expert is None else kind.name.format(expert=expert)
        return self.block_prefix(layer) + name

    def multi_token_name(self, layer: int, name: str) -> str:
        """Name on disk of a tensor that a multi-token layer has beside its decoder layer's."""
        extra = self.family.multi_token
        assert extra is not None
        return self.layer_prefix(layer) + name if extra.inside else name


class Sizes(Protocol):
    """The numbers that limit how many experts can be kept: an Architecture, or a manifest."""

    @property
    def experts(self) -> int: ...
    @property
    def top_k(self) -> int: ...
    @property
    def router_groups(self) -> int: ...
    @property
    def router_top_groups(self) -> int: ...
    @property
    def router_group_best(self) -> int: ...


def check_kept(model: Sizes, kept: int) -> None:
    """Refuse a number of experts that the model cannot be left with.

    Raises:
        UserError: K > N, K < k, K does not divide into the router's groups, or too few are left in these.
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
            f"experts: {kept} does not divide into the router's {groups} groups; use "
            + " or ".join(str(count) for count in nearest if count <= model.experts)
        )
    if groups > 1:
        reachable = kept // groups * model.router_top_groups
        least = max(-(-model.top_k // model.router_top_groups), model.router_group_best) * groups
        if reachable < model.top_k or kept // groups < model.router_group_best:
            raise UserError(
                f"experts: {kept} leaves {kept // groups} in each of the router's {groups} groups, of which a token "
                f"may use {model.router_top_groups}; keep at least {least}"
            )


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
    where = str(checkpoint.folder)
    family = family_of(checkpoint.config, where)
    if family.text and not isinstance(checkpoint.config.get(family.text), dict):
        raise UserError(f"{where}: config.json lacks {family.text}; fetch it again")
    config = family.numbers(checkpoint.config)
    experts = next((config[key] for key in family.experts_keys if key in config), None)
    if not experts:
        raise UserError(
            f"{where}: config.json says {experts} experts under {' or '.join(family.experts_keys)}: no "
            "Mixture-of-Experts"
        )
    for key in ("num_hidden_layers", "hidden_size", family.top_k_key, family.width_key):
        if key not in config:
            raise UserError(f"{where}: config.json lacks {key}; fetch it again")
    layers = config["num_hidden_layers"]
    layout = _layout(checkpoint.logical, family)
    roles = _roles(checkpoint.logical, family, layout, layers)
    moe_layers = tuple(sorted({role.layer for role in roles.values()}))
    if not moe_layers:
        named = " or ".join(each[0].name for each in family.layouts)
        raise UserError(f"{where}: no tensor is named like {family.layer_prefix}{family.moe}.{named}")
    groups, top_groups = _router_groups(config, family)
    architecture = Architecture(
        family=family,
        layout=layout,
        layers=layers,
        multi_token=sum(layer >= layers for layer in moe_layers),
        dropped=0,
        moe_layers=moe_layers,
        experts=experts,
        top_k=config[family.top_k_key],
        hidden=config["hidden_size"],
        width=config[family.width_key],
        router_groups=groups,
        router_top_groups=top_groups,
        roles=roles,
    )
    _check_tensors(checkpoint, architecture)
    return architecture


def without_multi_token(architecture: Architecture) -> Architecture:
    """The same model with its multi-token layers to be left out."""
    return replace(
        architecture,
        multi_token=0,
        dropped=architecture.multi_token,
        moe_layers=tuple(layer for layer in architecture.moe_layers if layer < architecture.layers),
    )


def _router_groups(config: Any, family: Family) -> tuple[int, int]:
    """(n_group, topk_group); DeepSeek-V2 has them in its config even where its router is not limited to groups."""
    if family.router_groups_key is None or config.get("topk_method") == "greedy":
        return 1, 1
    groups = int(config.get(family.router_groups_key) or 1)
    return groups, int(config.get(family.router_top_groups_key or "") or groups)


def _pattern(prefix: str, name: str) -> re.Pattern[str]:
    whole = re.escape(prefix + name)
    for count in ("layer", "index", "expert"):
        whole = whole.replace(rf"\{{{count}\}}", rf"(?P<{count}>\d+)", 1)
    return re.compile(whole)


def _prefixes(family: Family) -> list[str]:
    """Of layers: the decoder's, and multi-token ones' where they do not count on from them."""
    extra = family.multi_token
    return [family.layer_prefix] + ([extra.prefix] if extra and extra.prefix != family.layer_prefix else [])


def _layout(names: Iterable[str], family: Family) -> Layout:
    """The family's layout that the decoder's tensors have; its first, which then is missing, where none fits."""
    found = list(names)
    for layout in family.layouts:
        pattern = _pattern(f"{family.layer_prefix}{family.moe}.", layout[0].name)
        if any(pattern.fullmatch(name) for name in found):
            return layout
    return family.layouts[0]


def _roles(names: Iterable[str], family: Family, layout: Layout, layers: int) -> dict[str, Role]:
    kinds: list[ExpertTensor | RouterTensor] = [*layout, *family.router]
    patterns = [(kind, _pattern(f"{prefix}{family.moe}.", kind.name)) for prefix in _prefixes(family) for kind in kinds]
    roles = {}
    for name in names:
        for kind, pattern in patterns:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            found = match.groupdict()
            layer = int(found["layer"]) if "layer" in found else layers + int(found["index"])
            roles[name] = Role(layer, kind, int(found["expert"]) if "expert" in found else None)
    # A dense layer can have a tensor of a router's name (a gate), but no experts.
    with_experts = {role.layer for role in roles.values() if isinstance(role.kind, ExpertTensor)}
    return {name: role for name, role in roles.items() if role.layer in with_experts}


def _check_tensors(checkpoint: Checkpoint, architecture: Architecture) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    experts, hidden, width = architecture.experts, architecture.hidden, architecture.width
    routers: dict[str, int] = {}
    for layer in architecture.moe_layers:
        for router in architecture.family.router:
            routers[architecture.tensor_name(layer, router)] = router.axis
        for kind in architecture.layout:
            shape = kind.shape(hidden, width)
            if kind.stacked:
                expected[architecture.tensor_name(layer, kind)] = (experts, *shape)
            else:
                for expert in range(experts):
                    expected[architecture.tensor_name(layer, kind, expert)] = shape
    missing = [name for name in (*routers, *expected) if name not in checkpoint.logical]
    if missing:
        raise UserError(
            f"{checkpoint.folder}: {len(missing)} tensors are missing, the first is {missing[0]}; fetch it again"
        )
    for name, shape in expected.items():
        found = checkpoint.shape(name)
        if found != shape:
            raise UserError(f"{checkpoint.folder}: {name} has shape {list(found)}, its config says {list(shape)}")
    for name, axis in routers.items():
        found = checkpoint.shape(name)
        if len(found) <= axis or found[axis] != experts:
            raise UserError(
                f"{checkpoint.folder}: {name} has shape {list(found)}, its config says {experts} experts"
                + (f" along axis {axis}" if axis else "")
            )
    surplus = [name for name in architecture.roles if name not in expected and name not in routers]
    if surplus:
        raise UserError(
            f"{checkpoint.folder}: {surplus[0]} is beyond the {architecture.experts} experts of config.json"
        )
