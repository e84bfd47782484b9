"""Running a model one decoder layer at a time, through transformers' own modelling code.

The model is built without weights (on torch's meta device). To run layer l its tensors are read from the shards, and
the model's own forward is called on the hidden states with every other layer passing its input through: masks, rotary
embeddings and positions are whatever the model makes of them. The MoE block is replaced by a catcher that returns
zeros, so that the layer gives the residual, attention runs once, and the block's input is at hand for the statistics.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.routing import SCORES, Routing
from ream.errors import UserError
from ream.models.expert_weights import BlockWeights, OriginalWeights
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.family.expert_tensors import pack, unpacked
from ream.models.family.families import Family
from ream.models.family.modelling import model_config, set_experts
from ream.models.family.routers import ROUTERS
from ream.models.storage.checkpoint import Checkpoint

# Tokens at once through a block whose module runs all experts on all of them.
DENSE_TOKENS = 256
# Buffers that old checkpoints carry and models compute.
COMPUTED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class MoEBlock:
    """A MoE block of transformers with its weights, in the terms of the core.

    Attributes:
        module: the block itself.
        family: how it is to be read.
        unit: of its experts' neurons.
    """

    module: Any
    family: Family
    unit: GatedUnit

    @property
    def experts(self) -> ExpertStack:
        """Views of the module's weights."""
        layout = self.family.module_layout
        tensors = {kind.name: self.module.get_parameter(kind.name).detach() for kind in layout}
        return ExpertStack(**unpacked(layout, tensors), input_gate=self.input_gate)

    @property
    def input_gate(self) -> Tensor | None:
        """The router's rows, where they scale the experts' inputs."""
        if self.family.rule != "scales-inputs":
            return None
        rows: Tensor = self.module.router.weight.detach()
        return rows

    def route(self, x: Tensor, scores: str | None = None) -> Routing:
        """What the model's own gate decides for inputs [T, H]; ``scores`` overrides its scoring of all experts."""
        logits, weights, indices = ROUTERS[self.family.rule](self.module, x)
        return Routing(logits, SCORES[scores or self.family.scores](logits), indices, weights.float())

    def free(self) -> None:
        """Let the weights go, once the views of them that were given out are gone."""
        self.module.to("meta")

    def __call__(self, x: Tensor) -> Tensor:
        """MoE(x) for inputs [B, L, H]."""
        if not self.family.dense:
            return self._answer(x)
        flat = x.reshape(-1, x.shape[-1])
        return torch.cat([self._answer(part[None])[0] for part in flat.split(DENSE_TOKENS)]).reshape(x.shape)

    def _answer(self, x: Tensor) -> Tensor:
        answer = self.module(x)
        output: Tensor = answer[0] if self.family.pair else answer
        return output.reshape(x.shape)


class Decoder:
    """The decoder of a checkpoint, of which one layer's weights at most are in memory."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        device: torch.device,
        dtype: torch.dtype,
        trust_remote_code: bool = False,
    ) -> None:
        from transformers import AutoModel

        self.checkpoint, self.architecture = checkpoint, architecture
        self.device, self.dtype = device, dtype
        family = architecture.family
        self.config: Any = model_config(checkpoint, family, trust_remote_code, architecture.multi_token)
        self.unit = unit_of(family.unit, family.numbers(checkpoint.config))
        with torch.device("meta"):
            self.skeleton: Any = AutoModel.from_config(
                self.config, dtype=dtype, trust_remote_code=trust_remote_code
            ).eval()
        self.skeleton.rotary_emb = type(self.skeleton.rotary_emb)(config=self.config).to(device)
        self.norm_type: Any = type(self.skeleton.norm)
        self.skeleton.norm = nn.Identity()
        # What the model itself keeps in float32, whatever it computes in.
        self.precise = tuple(self.skeleton._keep_in_fp32_modules_strict or ())
        self.block_types = {
            index: type(getattr(self.skeleton.layers[index], family.block)) for index in architecture.moe_layers
        }
        for layer in self.skeleton.layers:
            layer.forward = _pass_through

    def embed(self, input_ids: Tensor) -> Tensor:
        """[n, L] token ids to hidden states [n, L, H] on the host."""
        table = self.checkpoint.read(self.architecture.family.embedding)
        return table[input_ids].to(self.dtype)

    @contextmanager
    def layer(self, index: int) -> Iterator["LoadedLayer"]:
        """A decoder layer with its weights, freed when the block ends.

        Raises:
            UserError: a tensor is missing or holds NaN or Inf, or the layer's activations do: when the block ends, if
                `LoadedLayer.check` has not been asked before.
        """
        module = self.skeleton.layers[index]
        name, moe = self.architecture.family.block, index in self.architecture.moe_layers
        block = getattr(module, name)
        catcher = Catcher(self.architecture.family.pair) if moe else block
        setattr(module, name, catcher)
        prefix = self.architecture.layer_prefix(index)
        inside = self.architecture.block_prefix(index)
        extra = self.architecture.family.multi_token if index >= self.architecture.layers else None
        tensors = {
            tensor[len(prefix) :]: self._place(self.checkpoint.read(tensor), tensor)
            for tensor in self.checkpoint.logical
            if tensor.startswith(prefix)
            and not (moe and tensor.startswith(inside))
            and not tensor.endswith(COMPUTED)
            and not (extra and tensor[len(prefix) :] in extra.own)
        }
        del module.forward
        _assign(module, tensors)
        try:
            loaded = LoadedLayer(self, module, index, catcher if moe else None)
            yield loaded
            loaded.check()
        finally:
            setattr(module, name, block)
            module.to("meta")
            module.forward = _pass_through

    def block(self, index: int, weights: BlockWeights | None = None) -> MoEBlock:
        """The MoE block of a layer with its weights.

        Args:
            index: of the layer.
            weights: of its experts and router; the checkpoint's own where None.
        """
        weights = weights or OriginalWeights(self.checkpoint, self.architecture, index)
        family, config = self.architecture.family, copy.deepcopy(self.config)
        set_experts(config, family, len(weights))
        with torch.device("meta"):
            module = self.block_types[index](config).to(self.dtype).eval()
        _assign(module, dict(self._block_tensors(index, weights)))
        return MoEBlock(module, family, self.unit)

    def final_norm(self) -> Callable[[Tensor], Tensor]:
        """What stands between the last layer and the head, with its weights, on the device."""
        return self._norm(self.architecture.family.final_norm)

    def _norm(self, name: str) -> Any:
        """A norm of the model's kind with the weights of that name."""
        module = self.norm_type(self.architecture.hidden, eps=self.config.rms_norm_eps).to(self.device)
        module.weight = nn.Parameter(self._place(self.checkpoint.read(name), name), requires_grad=False)
        return module

    def multi_token_entry(self, index: int) -> Callable[[Tensor, Tensor], Tensor]:
        """What makes the input of a multi-token layer (`families.MultiToken`), with its weights.

        Returns:
            A function of the hidden states [B, L, H] that leave the layer before it and of the token ids [B, L] that
            follow each position; it gives [B, L, H] on the host.
        """
        architecture, extra = self.architecture, self.architecture.family.multi_token
        assert extra is not None

        def own(name: str) -> str:
            return architecture.multi_token_name(index, name)

        first = index == architecture.layers
        before = self._norm(
            architecture.family.final_norm if first else architecture.multi_token_name(index - 1, extra.output_norm)
        )
        embedding_norm, hidden_norm = self._norm(own(extra.embedding_norm)), self._norm(own(extra.hidden_norm))
        projection = self._place(self.checkpoint.read(own(extra.projection)), own(extra.projection))
        table = self.checkpoint.read(architecture.family.embedding)

        @torch.no_grad()
        def entry(hidden: Tensor, following: Tensor) -> Tensor:
            embedded = table[following].to(device=self.device, dtype=self.dtype)
            both = [embedding_norm(embedded), hidden_norm(before(hidden.to(self.device)))]
            return (torch.cat(both, dim=-1) @ projection.T).to(hidden.device)

        return entry

    def _block_tensors(self, index: int, weights: BlockWeights) -> Iterable[tuple[str, Tensor]]:
        """Tensors of the block by the names and in the layout of the module in transformers."""
        architecture, inside = self.architecture, self.architecture.block_prefix(index)
        family = architecture.family
        for tensor in self.checkpoint.logical:
            if tensor.startswith(inside) and tensor not in architecture.roles:
                yield tensor[len(inside) :], self._place(self.checkpoint.read(tensor), tensor)
        for router in family.router:
            yield family.renamed.get(router.name, router.name), self._place(weights.router(router), router.name)
        hidden, width = architecture.hidden, architecture.width
        stacks = {
            kind: torch.empty(len(weights), *kind.shape(hidden, width), dtype=self.dtype)
            for kind in family.module_layout
        }
        for position in range(len(weights)):
            expert = weights.expert(position)
            for kind, stack in stacks.items():
                stack[position] = pack(kind, expert)
        for kind in list(stacks):
            yield kind.name, stacks.pop(kind).to(self.device)

    def _place(self, tensor: Tensor, name: str) -> Tensor:
        """A tensor on the device, in the dtype to compute with."""
        if not tensor.is_floating_point():
            return tensor.to(self.device)
        exact = any(part in name for part in self.precise)
        return tensor.to(device=self.device, dtype=torch.float32 if exact else self.dtype)


class Catcher(nn.Module):
    """Stands in a layer for its MoE block: keeps the block's input and answers zeros."""

    def __init__(self, pair: bool) -> None:
        """Args:
        pair: whether the layer expects the block's output with something beside it.
        """
        super().__init__()
        self.pair = pair
        self.caught: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor | tuple[Tensor, None]:
        self.caught = hidden_states
        zeros = torch.zeros_like(hidden_states)
        return (zeros, None) if self.pair else zeros


class LoadedLayer:
    """One decoder layer in memory."""

    def __init__(self, decoder: Decoder, module: nn.Module, index: int, catcher: Catcher | None) -> None:
        """Args:
        decoder: it belongs to. module: of transformers, with its weights. index: of the layer.
        catcher: in the place of its MoE block; None for a dense layer.
        """
        self.decoder, self.module, self.index, self.catcher = decoder, module, index, catcher
        self._sum = torch.zeros((), dtype=torch.float32, device=decoder.device)

    @torch.no_grad()
    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the layer on a micro-batch of right-padded sequences.

        Padding needs no mask: no token looks to its right. What comes out of it is of no use.

        Args:
            hidden: [B, L, H] input of the layer, on the host or the device.

        Returns:
            The layer's output without its MoE block (the residual), and that block's input, both [B, L, H] on the
            device; for a dense layer its output and None.
        """
        hidden = hidden.to(self.decoder.device)
        output = self.decoder.skeleton(inputs_embeds=hidden, use_cache=False).last_hidden_state
        caught = None if self.catcher is None else self.catcher.caught
        for tensor in (output,) if caught is None else (output, caught):
            self._sum += 0.0 * tensor.sum(dtype=torch.float32)  # NaN from here on, where there is one NaN or Inf
        return output, caught

    def check(self) -> None:
        """Refuse what the layer has given so far, should it be damaged; on a GPU the host waits here, once a layer.

        Raises:
            UserError: activations hold NaN or Inf.
        """
        if not bool(torch.isfinite(self._sum)):
            raise UserError(
                f"layer {self.index}: activations hold NaN or Inf in {self.decoder.dtype}; "
                "try compute.dtype: float32 or check the checkpoint"
            )


def runtime(device: str, dtype: str, threads: int | str) -> tuple[torch.device, torch.dtype]:
    """The device and dtype to compute with; sets the number of threads of this process.

    Args:
        device: as for `device_of`. dtype: as for `dtype_of`.
        threads: of a CPU; "auto" leaves torch's own number.

    Raises:
        UserError: see `device_of`.
    """
    if isinstance(threads, int):
        torch.set_num_threads(threads)
    found = device_of(device)
    return found, dtype_of(dtype, found)


def device_of(name: str) -> torch.device:
    """``auto``: cuda where there is one.

    Raises:
        UserError: cuda is asked for by name and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"compute.device: {name} is asked for, but torch sees no CUDA device; use cpu or auto")
    return torch.device(name)


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """``auto``: float32 on a CPU, bfloat16 on a GPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _pass_through(hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
    return hidden_states


def _assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module without weights its tensors; every one must fit and none may be left without.

    Raises:
        UserError: names that do not match the modelling code.
    """
    wrong = module.load_state_dict(dict(tensors), strict=False, assign=True)
    if wrong.missing_keys or wrong.unexpected_keys:
        first = (wrong.missing_keys + wrong.unexpected_keys)[0]
        raise UserError(
            f"{type(module).__name__}: tensor {first} of the checkpoint and the modelling code do not match"
        )
    empty = [name for name, tensor in module.named_buffers() if tensor.is_meta]
    if empty:
        raise NotImplementedError(f"{type(module).__name__}: buffer {empty[0]} is not in the checkpoint")
