"""What an entry of a model family says: where it keeps its experts on disk, how its router decides, what it counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ream.errors import UserError
from ream.models.family.beyond import Beyond
from ream.models.family.config_levels import level
from ream.models.family.halves import Half
from ream.models.family.layout import PER_EXPERT, STACKED, Layout
from ream.models.family.multi_token_names import MultiToken
from ream.models.family.sparse_layers import EVERY, SparseRule
from ream.models.layers.apart import Apart

HEAD = "lm_head.weight"  # in transformers' text-only models


@dataclass(frozen=True)
class RouterTensor:
    """A tensor of the MoE block with one entry for each expert along an axis: the gate's rows, a bias.

    Attributes:
        name: within the MoE block.
        axis: along which the experts lie.
        exact: whether it stays in float32 whatever dtype the model computes in, as in the published code. Correction
            biases do: they can be of the size of 7 and differ by less than bfloat16's step there, 1/32.
        some: whether some MoE layers have no such tensor.
        numbers: whether it has no entries for experts, but a table whose values are their numbers, by token id.
        beyond: number of entries behind the experts' that stand for none, such as those of shared experts; they stay.
    """

    name: str
    axis: int = 0
    exact: bool = False
    some: bool = False
    numbers: bool = False
    beyond: int = 0


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one architecture are laid out.

    Attributes:
        model_type: value of that key in config.json.
        examples: models of this family, for the documentation.
        experts_keys: config keys that may hold N; every one that is present is updated.
        width_key: config key of the expert width D.
        latent_key: config key of the width of the experts' inputs and outputs, where that is not H.
        changes_inputs: whether the MoE block hands its experts something else than its own inputs.
        changes_outputs: whether it does more with the sum of their weighted outputs than to add it to something.
        top_k_key: config key of k.
        layouts: how experts may lie on disk; a checkpoint has one of these.
        router: tensors of the MoE block with one entry for each expert.
        scores: a name in routing.SCORES: what p(x) is.
        rule: a name in routers.ROUTERS: how the model's own gate is called.
        router_groups_key, router_top_groups_key: config keys of n_group and topk_group, where the router has groups.
        router_group_best: number of its best experts by which a router group is scored.
        moe: name of the MoE block on disk.
        block: name of the MoE block in transformers' modules.
        module_layout: how experts lie in that module.
        renamed: names on disk of tensors of the block that have another name in the module, to that name.
        pair: whether the module returns a pair: its output and something else.
        dense: whether the module runs all experts on all tokens, and so needs memory for all of them.
        unit: a name in activations.UNITS: what an expert's neurons compute.
        layer_prefix: start of the names of a decoder layer's tensors, with ``{layer}``.
        embedding: name of the embedding on disk.
        final_norm: name of the norm between the last layer and the head on disk; it and ``norm`` are "" without one.
        text: config key of the text model's config in a multimodal model's (`config_levels`); None for a text model.
        text_prefixes: starts of the names of the text model's tensors, to those in transformers' text-only model.
        multi_token: how multi-token layers are named, where checkpoints have such layers.
        sparse: which layers have routed experts by config.json.
        tied: whether the head is the embedding where config.json does not say.
        modelling: model_type of transformers' modelling code, if another one.
        shared: whether there are shared experts, for the documentation; they are never touched.
        additive: whether a layer's output is a residual plus the MoE block's; else there is a norm or factor behind it.
        norm: attribute of the final norm in transformers' text model.
        decoder: path of the module in transformers' text model that has the layers; "" for the model itself.
        experts_module: name of the experts module within the block.
        placed: names on disk of tensors of a layer to other names in transformers' layer; in an entry without those of
            the MoE block that differ by ``moe``, ``block`` and ``renamed`` alone.
        joined: names in transformers' layer of tensors that are joined along the first axis of several, to these.
        halves: names in transformers' layer of tensors that are halves of one on disk, to where they lie in it.
        outside: names on disk of what the text model has beside layers, embedding, norm and head, to those in it.
        head_name: name of the head on disk; None where it follows from ``text_prefixes``.
        unwalked: starts of the names of tensors with routed experts that transformers' model does not have: multi-token
            layers in a form that ream cannot run. They can only be left out.
        assumed: config keys that config.json lacks, to what transformers takes for them.
        integers: ends of the names on disk of the text model's tensors that hold whole numbers, not floats.
        by_ids: whether transformers' MoE block is given token ids, too.
        apart: where the router is in a layer without a MoE block (its ``moe`` and ``block`` are "").
        state: number of values of a token that a layer's router hands to the next layer's (Zaya); 0 for most models.
        beyond: what rows of the router stand for that give logits but have no expert; None where there are none.
        logits_module: path within the block of the module that gives the logits; None for that with their matrix.
        derived: whether the entry was derived from the checkpoint.
        guessed_scores: whether p(x) could not be found, and ``scores`` stands in for it.
    """

    model_type: str
    examples: tuple[str, ...]
    experts_keys: tuple[str, ...]
    width_key: str
    top_k_key: str = "num_experts_per_tok"
    latent_key: str | None = None
    changes_inputs: bool = False
    changes_outputs: bool = False
    layouts: tuple[Layout, ...] = (PER_EXPERT, STACKED)
    router: tuple[RouterTensor, ...] = (RouterTensor("gate.weight"),)
    scores: str = "softmax"
    rule: str = "gate"
    router_groups_key: str | None = None
    router_top_groups_key: str | None = None
    router_group_best: int = 1
    moe: str = "mlp"
    block: str = "mlp"
    module_layout: Layout = STACKED
    renamed: Mapping[str, str] = field(default_factory=dict)
    pair: bool = False
    dense: bool = False
    unit: str = "gated"
    layer_prefix: str = "model.layers.{layer}."
    embedding: str = "model.embed_tokens.weight"
    final_norm: str = "model.norm.weight"
    text: str | None = None
    text_prefixes: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    multi_token: MultiToken | None = None
    sparse: SparseRule = EVERY
    tied: bool = False
    modelling: str | None = None
    shared: bool = False
    additive: bool = True
    norm: str = "norm"
    decoder: str = ""
    experts_module: str = "experts"
    placed: Mapping[str, str] = field(default_factory=dict)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    halves: Mapping[str, Half] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    head_name: str | None = None
    unwalked: tuple[str, ...] = ()
    assumed: Mapping[str, Any] = field(default_factory=dict)
    integers: tuple[str, ...] = ()
    by_ids: bool = False
    apart: Apart | None = None
    state: int = 0
    beyond: Beyond | None = None
    logits_module: str | None = None
    derived: bool = False
    guessed_scores: bool = False

    @property
    def router_module(self) -> str:
        """Path within the MoE block of the module that gives logits: that with the matrix, its first tensor."""
        if self.logits_module is not None:
            return self.logits_module
        return self.module_name(self.in_layer(self.router[0].name)).removeprefix(f"{self.block}.").rpartition(".")[0]

    def in_block(self, name: str) -> str | None:
        """The name within transformers' MoE block of a tensor of its layer; None for one outside of it."""
        if self.apart is not None:
            return name if name.partition(".")[0] in (self.apart.router, self.experts_module) else None
        return name.removeprefix(f"{self.block}.") if name.startswith(f"{self.block}.") else None

    def in_layer(self, name: str) -> str:
        """The name within a layer on disk of a tensor of the MoE block."""
        return f"{self.moe}.{name}" if self.moe else name

    def module_name(self, name: str) -> str:
        """The name in transformers' decoder layer of a tensor beside the routed experts.

        Args:
            name: within the layer on disk.
        """
        if name in self.placed:
            return self.placed[name]
        if not self.moe or not name.startswith(f"{self.moe}."):
            return name
        rest = name.removeprefix(f"{self.moe}.")
        return f"{self.block}.{self.renamed.get(rest, rest)}"

    def disk_names(self, name: str, moe: bool) -> tuple[str, ...]:
        """The names within a layer on disk of a tensor beside the routed experts; several where it is joined of them.

        Args:
            name: in transformers' decoder layer.
            moe: whether the layer has routed experts.
        """
        if name in self.joined:
            return self.joined[name]
        for stored, own in self.placed.items():
            if own == name:
                return (stored,)
        rest = name.removeprefix(f"{self.block}.")
        if not moe or not self.moe or rest == name:
            return (name,)
        inner = next((ours for ours, theirs in self.renamed.items() if theirs == rest), rest)
        return (self.in_layer(inner),)

    @property
    def scales_inputs(self) -> bool:
        """Whether the router's score scales an expert's input, not its output (Llama-4)."""
        return self.rule == "scales-inputs"

    @property
    def head(self) -> str:
        """Name of the head on disk."""
        return self.head_name or next(
            prefix + HEAD.removeprefix(inner) for prefix, inner in self.text_prefixes.items() if HEAD.startswith(inner)
        )

    @property
    def wrapped_head(self) -> bool:
        """Whether the head belongs to the multimodal wrapper, not to the text model inside it."""
        return self.text is not None and self.head == HEAD

    def ties_head(self, config: Mapping[str, Any]) -> bool:
        """Whether the head is the embedding: ``tie_word_embeddings`` of config.json, where transformers reads it.

        Transformers reads the flag of the model that has the head: the wrapper's, at the top of config.json, or the
        text model's. A flag at the other level means nothing.
        """
        flags = config if self.wrapped_head else self.numbers(config)
        return bool(flags.get("tie_word_embeddings", self.tied))

    def experts(self, numbers: Mapping[str, Any]) -> int:
        """N by the text model's part of config.json; 0 where no key says it.

        Raises:
            UserError: two keys say different numbers.
        """
        counts = {key: numbers[key] for key in self.experts_keys if numbers.get(key) is not None}
        if len(set(counts.values())) > 1:
            said = " and ".join(f"{key} {count}" for key, count in counts.items())
            raise UserError(f"config.json has {said}, which must be the same number; correct it, or fetch it again")
        return next(iter(counts.values()), 0)

    def positions(self, config: Mapping[str, Any]) -> int | None:
        """The most tokens of an input, ``max_position_embeddings``; None where the config has no such number."""
        most = self.numbers(config).get("max_position_embeddings")
        return most if isinstance(most, int) and most > 0 else None

    def vocabulary(self, config: Mapping[str, Any]) -> int:
        """The number of token ids, ``vocab_size``: an id is legal if and only if it is smaller."""
        return int(self.numbers(config)["vocab_size"])

    def numbers(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of config.json that describes the text model, with what is ``assumed``."""
        part: Mapping[str, Any] = level(config, self.text)
        return {**self.assumed, **part} if self.assumed else part
