"""Running a model one decoder layer at a time, through transformers' own modelling code.

The model is built without weights (on torch's meta device). To run layer l its tensors are read from the shards, and
the model's own forward is called on the hidden states with every other layer passing its input through: masks, rotary
embeddings and positions are whatever the model makes of them. The MoE block is replaced by a catcher that returns
zeros, so that the layer gives the residual, attention runs once, and the block's input is at hand for the statistics.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ream.core.experts import Activation, ExpertStack
from ream.core.routing import SCORES, Routing
from ream.errors import UserError
from ream.models.architecture import Architecture
from ream.models.checkpoint import Checkpoint
from ream.params import Compute

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class MoEBlock:
    """A MoE block of transformers with its weights, in the terms of the core.

    Attributes:
        module: the block itself; calling it gives the MoE output for [.., H] inputs.
        scores: of routing.SCORES.
    """

    module: Any
    scores: str

    @property
    def experts(self) -> ExpertStack:
        return ExpertStack(self.module.experts.gate_up_proj.detach(), self.module.experts.down_proj.detach())

    @property
    def activation(self) -> Activation:
        function: Activation = self.module.experts.act_fn
        return function

    def route(self, x: Tensor, scores: str | None = None) -> Routing:
        """What the model's own gate decides for inputs [T, H]; ``scores`` overrides its scoring of all experts."""
        logits, weights, indices = self.module.gate(x)
        return Routing(logits, SCORES[scores or self.scores](logits), indices, weights.float())

    def __call__(self, x: Tensor) -> Tensor:
        """MoE(x) for inputs [B, L, H]."""
        output: Tensor = self.module(x)
        return output


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
        from transformers import AutoConfig, AutoModel

        self.checkpoint, self.architecture = checkpoint, architecture
        self.device, self.dtype = device, dtype
        self.config: Any = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            self.skeleton: Any = AutoModel.from_config(
                self.config, dtype=dtype, trust_remote_code=trust_remote_code
            ).eval()
        self.skeleton.rotary_emb = type(self.skeleton.rotary_emb)(config=self.config).to(device)
        self.skeleton.norm = nn.Identity()
        moe = architecture.family.moe
        self.block_types = {index: type(getattr(self.skeleton.layers[index], moe)) for index in architecture.moe_layers}
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
            UserError: a tensor is missing or holds NaN or Inf.
        """
        module = self.skeleton.layers[index]
        name, moe = self.architecture.family.moe, index in self.architecture.moe_layers
        block = getattr(module, name)
        catcher = Catcher() if moe else block
        setattr(module, name, catcher)
        prefix = self.architecture.layer_prefix(index)
        inside = self.architecture.block_prefix(index)
        tensors = {
            tensor[len(prefix) :]: self._place(self.checkpoint.read(tensor))
            for tensor in self.checkpoint.tensors
            if tensor.startswith(prefix) and not (moe and tensor.startswith(inside))
        }
        del module.forward
        _assign(module, tensors)
        try:
            yield LoadedLayer(self, module, index, catcher if moe else None)
        finally:
            setattr(module, name, block)
            module.to("meta")
            module.forward = _pass_through

    def block(self, index: int, read: Read | None = None, experts: int | None = None) -> MoEBlock:
        """The MoE block of a layer with its weights.

        Args:
            index: of the layer.
            read: tensor name to tensor; the checkpoint's own where None.
            experts: how many experts ``read`` has, where it is not the original's number.
        """
        read = read or self.checkpoint.read
        config = copy.deepcopy(self.config)
        count = experts or self.architecture.experts
        for key in self.architecture.family.experts_keys:
            if hasattr(config, key):
                setattr(config, key, count)
        with torch.device("meta"):
            module = self.block_types[index](config).to(self.dtype).eval()
        _assign(module, {name: self._place(tensor) for name, tensor in self._fused(index, read, count)})
        return MoEBlock(module, self.architecture.family.scores)

    def _fused(self, index: int, read: Read, count: int) -> Iterator[tuple[str, Tensor]]:
        """Tensors of the block as transformers keeps them: experts stacked, gate rows above up rows."""
        architecture, inside = self.architecture, self.architecture.block_prefix(index)
        for name in self.checkpoint.tensors:
            role = architecture.roles.get(name)
            if name.startswith(inside) and (role is None or role.expert is None):
                yield name[len(inside) :], read(name)
        gate_up = torch.empty(count, 2 * architecture.width, architecture.hidden, dtype=self.dtype)
        down = torch.empty(count, architecture.hidden, architecture.width, dtype=self.dtype)
        for expert in range(count):
            gate_up[expert, : architecture.width] = read(architecture.expert_name(index, expert, "gate"))
            gate_up[expert, architecture.width :] = read(architecture.expert_name(index, expert, "up"))
            down[expert] = read(architecture.expert_name(index, expert, "down"))
        yield "experts.gate_up_proj", gate_up
        yield "experts.down_proj", down

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype if tensor.is_floating_point() else tensor.dtype)


class Catcher(nn.Module):
    """Stands in a layer for its MoE block: keeps the block's input and answers zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.caught: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor:
        self.caught = hidden_states
        return torch.zeros_like(hidden_states)


@dataclass(frozen=True)
class LoadedLayer:
    """One decoder layer in memory."""

    decoder: Decoder
    module: nn.Module
    index: int
    catcher: Catcher | None

    @torch.no_grad()
    def __call__(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the layer on a micro-batch.

        Args:
            hidden: [B, L, H] input of the layer, on the host or the device.
            mask: [B, L], True for real tokens.

        Returns:
            The layer's output without its MoE block (the residual), and that block's input, both [B, L, H] on the
            device; for a dense layer its output and None.

        Raises:
            UserError: the activations hold NaN or Inf.
        """
        hidden = hidden.to(self.decoder.device)
        output = self.decoder.skeleton(
            inputs_embeds=hidden, attention_mask=mask.to(self.decoder.device).long(), use_cache=False
        ).last_hidden_state
        caught = None if self.catcher is None else self.catcher.caught
        for tensor in (output,) if caught is None else (output, caught):
            if not torch.isfinite(tensor).all():
                raise UserError(
                    f"layer {self.index}: activations hold NaN or Inf in {self.decoder.dtype}; "
                    "try compute.dtype: float32 or check the checkpoint"
                )
        return output, caught


def runtime(compute: Compute) -> tuple[torch.device, torch.dtype]:
    """The device and dtype to compute with; sets the number of threads of this process.

    Raises:
        UserError: see `device_of`.
    """
    if compute.threads != "auto":
        torch.set_num_threads(compute.threads)
    device = device_of(compute.device)
    return device, dtype_of(compute.dtype, device)


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
