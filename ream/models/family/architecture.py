"""What a checkpoint is: its family, its sizes, and which of its tensors belong to which expert."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from ream.errors import UserError
from ream.models.family.alike import check_alike, check_layers, check_stored
from ream.models.family.config_json import check_config
from ream.models.family.config_sizes import expert_hidden, router_groups, selected_experts, sizes_in
from ream.models.family.families import family_of
from ream.models.family.family import Family, RouterTensor
from ream.models.family.layout import ExpertTensor, Layout, projections
from ream.models.family.names import shapes_of
from ream.models.family.sizes import Sizes
from ream.models.storage.checkpoint import Checkpoint


@dataclass(frozen=True)
class Role:
    """What a tensor is to its MoE layer.

    Attributes:
        layer: index of the layer; multi-token layers count on from the decoder's.
        kind: how the tensor holds weights of experts, or along which axis of a router's tensor the experts lie.
        expert: number of the expert whose tensor it is; None where it holds all experts.
    """

    layer: int
    kind: ExpertTensor | RouterTensor
    expert: int | None = None


@dataclass(frozen=True, kw_only=True)
class Architecture(Sizes):
    """A model's sizes, and where its tensors lie.

    Attributes:
        family: the model's entry.
        layout: the one of the family's layouts that this checkpoint has.
        multi_token: number of layers behind the decoder that predict further tokens.
        dropped: number of the checkpoint's multi-token layers that are left out of what is written.
        roles: tensor name to Role, for the tensors of routed experts and of routers.
        expert_hidden: width of the experts' inputs and outputs: H for most models, that of a latent space for some.
    """

    family: Family
    layout: Layout
    multi_token: int
    dropped: int
    roles: dict[str, Role]
    expert_hidden: int

    @property
    def projections(self) -> tuple[str, ...]:
        """The matrices of an expert: gate, up and down, or up and down."""
        return projections(self.layout)

    @property
    def depth(self) -> int:
        """Number of layers that a walk goes through, multi-token layers among them."""
        return self.layers + self.multi_token

    @property
    def an_expert_tensor(self) -> str:
        """Name of the first tensor that holds weights of routed experts."""
        return next(name for name, role in self.roles.items() if isinstance(role.kind, ExpertTensor))

    def layer_prefix(self, layer: int) -> str:
        """Start of the names of a layer's tensors."""
        extra = self.family.multi_token
        if layer < self.layers or extra is None:
            return self.family.layer_prefix.format(layer=layer)
        return extra.prefix.format(layer=layer, index=layer - self.layers)

    def block_prefix(self, layer: int) -> str:
        """Start of the names of the tensors of a layer's MoE block."""
        return self.layer_prefix(layer) + self.family.in_layer("")

    def routers(self, layer: int) -> list[RouterTensor]:
        """The tensors of a MoE layer's router; those that only some layers have, where the checkpoint has them."""
        return [
            router for router in self.family.router if not router.some or self.tensor_name(layer, router) in self.roles
        ]

    def tensor_name(self, layer: int, kind: ExpertTensor | RouterTensor, expert: int | None = None) -> str:
        """Name on disk of a tensor of a MoE block.

        Args:
            layer: index of the layer.
            kind: of the tensor.
            expert: number of the expert, where the tensor belongs to one.
        """
        name = kind.name if expert is None else kind.name.format(expert=expert)
        return self.block_prefix(layer) + name

    def multi_token_name(self, layer: int, name: str) -> str:
        """Name on disk of a tensor that a multi-token layer has beside its decoder layer's (`MultiToken.own`)."""
        extra = self.family.multi_token
        assert extra is not None
        return self.layer_prefix(layer) + name if extra.inside else name


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Read the sizes from the config and the tensor names, and check that every expert is there in the right shape.

    All else that headers tell without the modelling code is checked, too (`ream.models.family.alike`).

    Raises:
        UserError: the model is not a Mixture-of-Experts model, its family is unknown, config.json lacks a number or has
            one that is not allowed or disagrees with the tensors, tensors are missing, or a shape or dtype is wrong.
    """
    where = str(checkpoint.folder)
    family = family_of(checkpoint.config, where, partial(shapes_of, checkpoint))
    check_config(checkpoint.config, family, str(checkpoint.folder / "config.json"))
    config = sizes_in(checkpoint.config, family, where)
    check_stored(checkpoint, family)
    layers = config["num_hidden_layers"]
    layout = _layout(checkpoint.logical, family)
    roles = _roles(checkpoint.logical, family, layout, layers)
    moe_layers = tuple(sorted({role.layer for role in roles.values()}))
    if not moe_layers:
        named = " or ".join(possible[0].name for possible in family.layouts)
        raise UserError(f"{where}: no tensor is named like {family.layer_prefix}{family.in_layer(named)}")
    groups, top_groups = router_groups(config, family, where)
    architecture = Architecture(
        layers=layers,
        moe_layers=moe_layers,
        experts=family.experts(config),
        top_k=selected_experts(config, family),
        hidden=config["hidden_size"],
        width=config[family.width_key],
        router_groups=groups,
        router_top_groups=top_groups,
        router_group_best=family.router_group_best,
        family=family,
        layout=layout,
        multi_token=sum(layer >= layers for layer in moe_layers),
        dropped=0,
        roles=roles,
        expert_hidden=expert_hidden(config, family),
    )
    check_layers(checkpoint, family, config, moe_layers)
    _check_tensors(checkpoint, architecture)
    check_alike(checkpoint, family, config, moe_layers)
    return architecture


def without_multi_token(architecture: Architecture) -> Architecture:
    """The same model with its multi-token layers left out."""
    return replace(
        architecture,
        multi_token=0,
        dropped=architecture.multi_token + architecture.dropped,
        moe_layers=tuple(layer for layer in architecture.moe_layers if layer < architecture.layers),
    )


def _pattern(prefix: str, name: str) -> re.Pattern[str]:
    """A pattern of names on disk with a group for each count in a template: ``{layer}``, ``{index}``, ``{expert}``."""
    template = re.escape(prefix + name)
    for count in ("layer", "index", "expert"):
        template = template.replace(rf"\{{{count}\}}", rf"(?P<{count}>\d+)", 1)
    return re.compile(template)


def _prefixes(family: Family) -> list[str]:
    """Starts of the names of layers: the decoder's, and multi-token layers' where those do not count on from them."""
    extra = family.multi_token
    return [family.layer_prefix] + ([extra.prefix] if extra and extra.prefix != family.layer_prefix else [])


def _layout(names: Iterable[str], family: Family) -> Layout:
    """The family's layout that the decoder's tensors have; where none fits, its first, whose tensors are missing."""
    stored = list(names)
    for layout in family.layouts:
        pattern = _pattern(family.layer_prefix + family.in_layer(""), layout[0].name)
        if any(pattern.fullmatch(name) for name in stored):
            return layout
    return family.layouts[0]


def _roles(names: Iterable[str], family: Family, layout: Layout, layers: int) -> dict[str, Role]:
    """Tensor name to Role, for the tensors of routed experts and of routers."""
    kinds: list[ExpertTensor | RouterTensor] = [*layout, *family.router]
    patterns = [
        (kind, _pattern(prefix + family.in_layer(""), kind.name)) for prefix in _prefixes(family) for kind in kinds
    ]
    roles = {}
    for name in names:
        for kind, pattern in patterns:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            counts = {count: int(digits) for count, digits in match.groupdict().items()}
            layer = counts["layer"] if "layer" in counts else layers + counts["index"]
            roles[name] = Role(layer, kind, counts.get("expert"))
    # A dense layer can have a tensor with the name of a router's (a gate), but has no experts.
    with_experts = {role.layer for role in roles.values() if isinstance(role.kind, ExpertTensor)}
    return {name: role for name, role in roles.items() if role.layer in with_experts}


def _expert_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Name to shape of every tensor of routed experts that the sizes call for."""
    experts, shapes = architecture.experts, {}
    for layer in architecture.moe_layers:
        for kind in architecture.layout:
            shape = kind.shape(architecture.expert_hidden, architecture.width)
            if kind.stacked:
                shapes[architecture.tensor_name(layer, kind)] = (experts, *shape)
            else:
                shapes |= {
                    architecture.tensor_name(layer, kind, expert): shape for expert in range(experts + kind.beyond)
                }
    return shapes


def _check_tensors(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Refuse missing tensors of experts and routers, other shapes, and experts beyond the N of config.json."""
    expected = _expert_shapes(architecture)
    routers = {
        architecture.tensor_name(layer, router): router
        for layer in architecture.moe_layers
        for router in architecture.routers(layer)
    }
    missing = [name for name in (*routers, *expected) if name not in checkpoint.logical]
    if missing:
        raise UserError(
            f"{checkpoint.folder}: {len(missing)} tensors are missing, the first is {missing[0]}; fetch it again"
        )
    for name, shape in expected.items():
        stored = checkpoint.shape(name)
        if stored != shape:
            raise UserError(f"{checkpoint.folder}: {name} has shape {list(stored)}, but its config says {list(shape)}")
    for name, router in routers.items():
        stored, axis = checkpoint.shape(name), router.axis
        if not router.numbers and (len(stored) <= axis or stored[axis] != architecture.experts + router.beyond):
            more = f" and {router.beyond} entries that stand for none" if router.beyond else ""
            raise UserError(
                f"{checkpoint.folder}: {name} has shape {list(stored)}, but its config says {architecture.experts} "
                f"experts{more}" + (f" along axis {axis}" if axis else "")
            )
    surplus = [name for name in architecture.roles if name not in expected and name not in routers]
    if surplus:
        raise UserError(
            f"{checkpoint.folder}: {surplus[0]} is beyond the {architecture.experts} experts of config.json"
        )
