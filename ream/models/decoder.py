"""Running a model one decoder layer at a time, through transformers' own modelling code.

The model is built without weights, on torch's meta device. To run layer l, its tensors are read from the shards and
the layer is called on the hidden states with the arguments that the model's own forward gives it (`LayerArguments`). So
masks, rotary embeddings and positions are the model's own. A catcher that returns zeros replaces the MoE block: the
layer's output is the residual, attention runs once, and the block's input is at hand for the statistics.
"""

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ream.models.entering import Stream
from ream.models.expert_weights import BlockWeights, OriginalWeights
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.family.complete import check_against
from ream.models.family.expert_tensors import pack
from ream.models.family.layer_names import beside_experts
from ream.models.family.modelling import explained, model_config, set_experts
from ream.models.family.needed import skeleton
from ream.models.layers.arguments import LayerArguments
from ream.models.layers.embedding import embedding_of
from ream.models.layers.loaded import Catcher, LoadedLayer
from ream.models.layers.router_and_experts import block_within
from ream.models.layers.weightless import give_buffers, give_layer_buffers, give_others, give_tensors
from ream.models.moe_block import MoEBlock
from ream.models.storage.checkpoint import Checkpoint


class Decoder:
    """The decoder of a checkpoint, with at most one layer's weights in memory.

    Attributes:
        checkpoint: whose weights are read.
        architecture: of the checkpoint.
        device: where layers compute.
        dtype: in which layers compute.
        config: transformers' configuration of the text model.
        unit: what the neurons of the experts compute.
        skeleton: the model in transformers without weights.
        text: the module of the skeleton that has the layers.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        architecture: Architecture,
        device: torch.device,
        dtype: torch.dtype,
        trust_remote_code: bool = False,
    ) -> None:
        """Build the model without weights.

        Args:
            checkpoint: whose weights are read.
            architecture: of the checkpoint.
            device: where layers compute.
            dtype: in which layers compute.
            trust_remote_code: let the model's own code run.

        Raises:
            UserError: see `check_complete`.
        """
        self.checkpoint, self.architecture, family = checkpoint, architecture, architecture.family
        self.device, self.dtype = device, dtype
        self.config: Any = model_config(checkpoint, family, trust_remote_code, architecture.multi_token)
        self.unit = unit_of(family.unit, family.numbers(checkpoint.config))
        with explained(checkpoint.folder / "config.json"):
            self.skeleton: Any = skeleton(self.config, dtype, trust_remote_code).eval()
        check_against(checkpoint, architecture, self.skeleton)
        self.text: Any = self.skeleton.get_submodule(family.decoder)
        self._norm: nn.Module | None = getattr(self.text, family.norm) if family.norm else None
        give_buffers(self.text, self.config, device)
        give_others(self.skeleton, {own: checkpoint.read(name) for name, own in family.outside.items()}, device)
        # Parts of the names of tensors that the model keeps in float32, whatever dtype it computes in.
        self._precise = tuple(self.skeleton._keep_in_fp32_modules_strict or ())
        layers: Any = self.text.layers  # a block's path is "" where there is none: then the layer's own type
        self._block_types = {i: type(layers[i].get_submodule(family.block)) for i in architecture.moe_layers}
        self._arguments = LayerArguments(self.text, self.text.layers, family.state)
        embedded = embedding_of(self.text, lambda: skeleton(self.config, dtype, trust_remote_code))
        by_ids = family.derived and self._arguments.needs_ids(architecture.hidden, dtype, device)
        self._stream = Stream(self._arguments, embedded, architecture.hidden, dtype, device, by_ids, family.state)

    def table(self) -> Tensor:
        """The embedding table [V, H] of the checkpoint, on the host."""
        return self.checkpoint.read(self.architecture.family.embedding)

    def embed(self, input_ids: Tensor, table: Tensor | None = None) -> Tensor:
        """[n, L] token ids to what enters the first layer, on the host: [n, L, H] for most models.

        Args:
            input_ids: [n, L].
            table: the embedding table, for callers that embed several times; None reads it.
        """
        return self._stream.of((self.table() if table is None else table)[input_ids], input_ids)

    @property
    def stream(self) -> tuple[int, ...]:
        """The axes of a walk's stream behind sequences and tokens: (H,) for most models."""
        return self._stream.shape

    @property
    def additive(self) -> bool:
        """Whether what leaves a layer is a residual plus its MoE block's output alone."""
        return self.architecture.family.additive and self._stream.carried is None

    def states(self, stream: Tensor) -> Tensor:
        """The model's own hidden states in a walk's stream, which may carry token ids, too."""
        return self._stream.states(stream)

    @contextmanager
    def layer(self, index: int) -> Iterator[LoadedLayer]:
        """Yield a decoder layer with its weights, which are freed when the block exits.

        Raises:
            UserError: a tensor is missing or holds NaN or Inf; or, when the block exits, the layer's activations do.
        """
        family = self.architecture.family
        module = self.text.layers[index]
        moe = index in self.architecture.moe_layers
        catcher = Catcher(family.pair, family.by_ids, family.state) if moe else None
        replaced = catcher.take(module, family.block, family.apart, family.experts_module) if catcher else {}
        tensors = dict(self._layer_tensors(index))
        give_layer_buffers(module, self.config, self.device)
        del module.forward
        give_tensors(module, tensors)
        try:
            loaded = LoadedLayer(
                *(module, index, self._arguments, self.architecture.hidden, self.device, self.dtype, catcher),
                additive=self.additive,
                carried=self._stream.carried,
            )
            yield loaded
            loaded.check()
        finally:
            for path, own in replaced.items():
                module.set_submodule(path, own)
            module.to("meta")
            self._arguments.silence(module)

    def block(self, index: int, weights: BlockWeights | None = None) -> MoEBlock:
        """The MoE block of a layer with its weights.

        Args:
            index: of the layer.
            weights: of the block's experts and router; the checkpoint's own where None.

        Raises:
            UserError: a tensor is missing or holds NaN or Inf.
        """
        weights = weights or OriginalWeights(self.checkpoint, self.architecture, index)
        family, config = self.architecture.family, copy.deepcopy(self.config)
        set_experts(config, family, len(weights))
        kind = self._block_types[index]
        numbered = [index] if "layer_idx" in inspect.signature(kind).parameters else []
        with torch.device("meta"):
            module = kind(config, *numbered).to(self.dtype).eval()
        module = block_within(module, family.apart, family.experts_module, family.state)
        give_tensors(module, dict(self._block_tensors(index, weights)))
        return MoEBlock(module, family, self.unit)

    def behind(self, leaving: Tensor) -> Tensor:
        """The hidden states [B, L, H] behind the final norm, of those that leave the last layer.

        Args:
            leaving: [B, L, ...] on the device.

        Raises:
            UserError: a tensor of the norm is missing or holds NaN or Inf.
        """
        if self._norm is not None and any(tensor.is_meta for tensor in self._norm.state_dict().values()):
            self.fill(self._norm, self.architecture.family.final_norm)
        own, ids = self.states(leaving), self._stream.ids(leaving)
        states: Tensor = self._arguments.behind(own, self.architecture.hidden, ids).last_hidden_state
        return states

    def norm_named(self, name: str) -> Callable[[Tensor], Tensor]:
        """A copy of the model's final norm with the weights of that name, and its bias if it has one, on the device."""
        assert self._norm is not None
        module = copy.deepcopy(self._norm)
        self.fill(module, name)
        return module

    def fill(self, module: nn.Module, name: str) -> None:
        """Give a module outside of layers its weight of that name and, if it has one, its bias, on the device."""
        stem = name.removesuffix("weight")
        give_tensors(module, {own: self.place(self.checkpoint.read(stem + own), name) for own in module.state_dict()})

    def _layer_tensors(self, index: int) -> Iterable[tuple[str, Tensor]]:
        """Names within the layer and tensors of all that it has beside its MoE block, on the device."""
        architecture, family = self.architecture, self.architecture.family
        moe = index in architecture.moe_layers
        for name, stored in beside_experts(architecture, index, self.checkpoint.logical).items():
            if not moe or family.state or family.in_block(name) is None:
                yield name, self._joined(name, stored)
        for router in architecture.routers(index) if moe and family.state else ():
            stored_name = architecture.tensor_name(index, router)
            tensor = self.place(self.checkpoint.read(stored_name), router.name, router.exact)
            yield family.module_name(family.in_layer(router.name)), tensor

    def _joined(self, own: str, stored: tuple[str, ...]) -> Tensor:
        """A tensor of a layer on the device, joined of one or several of the checkpoint, or half of one."""
        parts = [self.place(self.checkpoint.read(name), name) for name in stored]
        half = self.architecture.family.halves.get(own)
        return torch.cat(parts) if len(parts) > 1 else parts[0] if half is None else half.of(parts[0])

    def _block_tensors(self, index: int, weights: BlockWeights) -> Iterable[tuple[str, Tensor]]:
        """Names and tensors of a MoE block, in the layout of its module in transformers, on the device."""
        architecture, family = self.architecture, self.architecture.family
        for name, stored in beside_experts(architecture, index, self.checkpoint.logical).items():
            inner = family.in_block(name)
            if inner is not None:
                yield inner, self._joined(name, stored)
        for router in architecture.routers(index):
            module_name = family.renamed.get(router.name, router.name)
            yield module_name, self.place(weights.router(router), router.name, router.exact)
        hidden, width = architecture.expert_hidden, architecture.width
        stacks = {
            kind: torch.zeros(len(weights) + kind.beyond, *kind.shape(hidden, width), dtype=self.dtype)
            for kind in family.module_layout
        }
        for position in range(len(weights)):
            expert = weights.expert(position)
            for kind, stack in stacks.items():
                stack[position] = pack(kind, expert)
        for kind in list(stacks):  # the host lets each stack go once the device has it
            yield kind.name, stacks.pop(kind).to(self.device)

    def place(self, tensor: Tensor, name: str, exact: bool = False) -> Tensor:
        """A tensor on the device and, if it holds floats, in the dtype that it is computed with.

        Args:
            tensor: of the checkpoint.
            name: of the tensor.
            exact: keep it in float32, as all whose names transformers lists for that.
        """
        if not tensor.is_floating_point():
            return tensor.to(self.device)
        exact = exact or any(part in name for part in self._precise)
        return tensor.to(device=self.device, dtype=torch.float32 if exact else self.dtype)
