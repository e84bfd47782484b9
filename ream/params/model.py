"""Sections model, compute and merge: the original, where it runs, and how the compressed model is written."""

from typing import Annotated, Literal

from pydantic import Field

from ream.params.section import Section


class Model(Section):
    """The original: a hub id (``owner/name``, optional ``@revision``) or a folder, and whether its own code may run.

    ``special_tokens``: text is encoded with the tokens that the tokenizer adds to it, such as a beginning-of-text token
    (BOS), or without; this holds for calibration text, held-out text and prompts.
    ``multi_token``: layers that predict further tokens (MTP) are compressed like other layers, or left out.
    ``keep_shards``: the shards of a hub model stay in the hub's cache; otherwise each is removed after use, and
    downloaded again for the next use.
    """

    path: str = Field(description="hub id (owner/name, optional @revision) or folder")
    trust_remote_code: bool = Field(False, description="let the model's own Python code run (docs/security.md)")
    special_tokens: Literal["tokenizer", "none"] = Field(
        "tokenizer", description="encode text with the tokens that the tokenizer adds, such as BOS, or without"
    )
    multi_token: Literal["compress", "drop"] = Field(
        "compress", description="what becomes of layers that predict further tokens (MTP)"
    )
    keep_shards: bool = Field(
        True, description="keep the shards of a hub model in the hub's cache; false: remove each after use"
    )


class Compute(Section):
    """Where and how the model runs.

    ``auto`` means cuda where there is a GPU; float32 on a CPU and bfloat16 on a GPU. Sums over another number of
    threads can differ in the last bit: a number in ``threads`` makes results independent of the machine's cores, and
    lets several stages run side by side.
    """

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto: cuda where there is a GPU",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the arithmetic; auto: float32 on a CPU, bfloat16 on a GPU"
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="CPU threads of torch, numpy and scipy; auto: all cores"
    )
    batch_tokens: int = Field(8192, ge=1, description="most tokens in one micro-batch")
    hidden_memory_gb: float = Field(
        8,
        ge=0,
        description="hidden states up to this size stay in memory, larger ones in mapped files (GB: 10^9 bytes)",
    )

    @property
    def hidden_memory(self) -> float:
        """`hidden_memory_gb` in bytes."""
        return self.hidden_memory_gb * 1e9

    @property
    def placement(self) -> tuple[str, str, int | str]:
        """Device, dtype and threads as written in the file, for `ream.models.decoder.runtime`."""
        return self.device, self.dtype, self.threads


class Merge(Section):
    """How compressed checkpoints are written."""

    dtype: Literal["original", "bfloat16"] = Field(
        "original", description="for quantised originals: their format, or bfloat16 for all tensors"
    )
    shard_gb: float | None = Field(
        None, gt=0, description="fill shards up to this many GB; null: the original's shards"
    )
