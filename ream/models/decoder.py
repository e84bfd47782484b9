"""Running a model one decoder layer at a time, through transformers' own modelling code.

The model is built without weights, on torch's meta device. To run layer l, its tensors are read from the shards and
the model's own forward is called on the hidden states, with every other layer passing its input through. So masks,
rotary embeddings and positions are the model's own. A catcher that returns zeros replaces the MoE block: the layer's
output is the residual, attention runs once, and the block's input is at hand for the statistics.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError
from ream.models.expert_weights import BlockWeights, OriginalWeights
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.family.complete import check_against
from ream.models.family.expert_tensors import pack
from ream.models.family.modelling import explained, model_config, set_experts
from ream.models.family.names import UNNEEDED
from ream.models.family.needed import skeleton
from ream.models.loaded_layer import Catcher, LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.models.multi_token_entry import MultiTokenEntry
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
        self.checkpoint, self.architecture = checkpoint, architecture
        self.device, self.dtype = device, dtype
        family = architecture.family
        self.config: Any = model_config(checkpoint, family, trust_remote_code, architecture.multi_token)
        self.unit = unit_of(family.unit, family.numbers(checkpoint.config))
        with explained(checkpoint.folder / "config.json"):
            self.skeleton: Any = skeleton(self.config, dtype, trust_remote_code).eval()
        check_against(checkpoint, architecture, self.skeleton)
        self.skeleton.rotary_emb = type(self.skeleton.rotary_emb)(config=self.config).to(device)
        self._norm_type: Any = type(self.skeleton.norm)
        self.skeleton.norm = nn.Identity()
        # Parts of the names of tensors that the model keeps in float32, whatever dtype it computes in.
        self._precise = tuple(self.skeleton._keep_in_fp32_modules_strict or ())
        self._block_types = {
            index: type(getattr(self.skeleton.layers[index], family.block)) for index in architecture.moe_layers
        }
        for layer in self.skeleton.layers:
            layer.forward = _pass_through

    def embed(self, input_ids: Tensor) -> Tensor:
        """[n, L] token ids to hidden states [n, L, H] on the host."""
        table = self.checkpoint.read(self.architecture.family.embedding)
        return table[input_ids].to(self.dtype)

    @contextmanager
    def layer(self, index: int) -> Iterator[LoadedLayer]:
        """Yield a decoder layer with its weights, which are freed when the block exits.

        Raises:
            UserError: a tensor is missing or holds NaN or Inf; or, when the block exits, the layer's activations do.
        """
        family = self.architecture.family
        module = self.skeleton.layers[index]
        block = getattr(module, family.block)
        catcher = Catcher(family.pair) if index in self.architecture.moe_layers else None
        if catcher is not None:
            setattr(module, family.block, catcher)
        tensors = dict(self._layer_tensors(index))
        del module.forward
        _assign(module, tensors)
        try:
            loaded = LoadedLayer(self.skeleton, index, self.device, self.dtype, catcher)
            yield loaded
            loaded.check()
        finally:
            setattr(module, family.block, block)
            module.to("meta")
            module.forward = _pass_through

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
        with torch.device("meta"):
            module = self._block_types[index](config).to(self.dtype).eval()
        _assign(module, dict(self._block_tensors(index, weights)))
        return MoEBlock(module, family, self.unit)

    def final_norm(self) -> Callable[[Tensor], Tensor]:
        """The norm between the last layer and the head, with its weights, on the device."""
        return self._norm(self.architecture.family.final_norm)

    def multi_token_entry(self, index: int) -> MultiTokenEntry:
        """What makes the input of a multi-token layer, with its weights on the device.

        Args:
            index: of the layer, counted on from the decoder's.
        """
        architecture, extra = self.architecture, self.architecture.family.multi_token
        assert extra is not None
        first = index == architecture.layers
        before = (
            architecture.family.final_norm if first else architecture.multi_token_name(index - 1, extra.output_norm)
        )
        projection = architecture.multi_token_name(index, extra.projection)
        return MultiTokenEntry(
            before=self._norm(before),
            embedding_norm=self._norm(architecture.multi_token_name(index, extra.embedding_norm)),
            hidden_norm=self._norm(architecture.multi_token_name(index, extra.hidden_norm)),
            projection=self._place(self.checkpoint.read(projection), projection),
            embedding=self.checkpoint.read(architecture.family.embedding),
            device=self.device,
            dtype=self.dtype,
        )

    def _norm(self, name: str) -> Callable[[Tensor], Tensor]:
        """A norm of the model's class with the weights of that name, on the device."""
        module: Any = self._norm_type(self.architecture.hidden, eps=self.config.rms_norm_eps).to(self.device)
        module.weight = nn.Parameter(self._place(self.checkpoint.read(name), name), requires_grad=False)
        norm: Callable[[Tensor], Tensor] = module
        return norm

    def _layer_tensors(self, index: int) -> Iterable[tuple[str, Tensor]]:
        """Names within the layer and tensors of all that it has beside its MoE block, on the device."""
        architecture = self.architecture
        prefix = architecture.layer_prefix(index)
        block = architecture.block_prefix(index) if index in architecture.moe_layers else None
        extra = architecture.family.multi_token if index >= architecture.layers else None
        for name in self.checkpoint.logical:
            rest = name[len(prefix) :]
            if not name.startswith(prefix) or name.endswith(UNNEEDED):
                continue
            if (block and name.startswith(block)) or (extra and rest in extra.own):
                continue
            yield rest, self._place(self.checkpoint.read(name), name)

    def _block_tensors(self, index: int, weights: BlockWeights) -> Iterable[tuple[str, Tensor]]:
        """Names and tensors of a MoE block, in the layout of its module in transformers, on the device."""
        architecture, prefix = self.architecture, self.architecture.block_prefix(index)
        family = architecture.family
        for name in self.checkpoint.logical:
            if name.startswith(prefix) and name not in architecture.roles:
                yield name[len(prefix) :], self._place(self.checkpoint.read(name), name)
        for router in family.router:
            module_name = family.renamed.get(router.name, router.name)
            yield module_name, self._place(weights.router(router), router.name, router.exact)
        hidden, width = architecture.hidden, architecture.width
        stacks = {
            kind: torch.empty(len(weights), *kind.shape(hidden, width), dtype=self.dtype)
            for kind in family.module_layout
        }
        for position in range(len(weights)):
            expert = weights.expert(position)
            for kind, stack in stacks.items():
                stack[position] = pack(kind, expert)
        for kind in list(stacks):  # the host lets each stack go once the device has it
            yield kind.name, stacks.pop(kind).to(self.device)

    def _place(self, tensor: Tensor, name: str, exact: bool = False) -> Tensor:
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


def _pass_through(hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
    """The forward of a layer that is not loaded."""
    return hidden_states


def _assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module without weights its tensors; every one must fit, and none may be missing.

    Raises:
        UserError: the names do not match the modelling code.
    """
    mismatch = module.load_state_dict(dict(tensors), strict=False, assign=True)
    if mismatch.missing_keys or mismatch.unexpected_keys:
        first = (mismatch.missing_keys + mismatch.unexpected_keys)[0]
        raise UserError(
            f"{type(module).__name__}: tensor {first} of the checkpoint and the modelling code do not match"
        )
    empty = [name for name, tensor in module.named_buffers() if tensor.is_meta]
    if empty:
        raise NotImplementedError(f"{type(module).__name__}: buffer {empty[0]} is not in the checkpoint")
