"""Sections model, compute and merge: the original, where it runs, and how what comes of it is written."""

from typing import Annotated, Literal

from pydantic import Field

from ream.params.section import Section


class Model(Section):
    """The original: a hub id (``owner/name``, optional ``@revision``) or a folder, and whether its own code may run.

    ``multi_token``: layers that predict further tokens (MTP) are compressed as one more layer, or left out.
    ``keep_shards``: what is fetched of a hub model stays in the hub's cache; else it is removed after use, and fetched
    again for the next use.
    """

    path: str
    trust_remote_code: bool = False
    multi_token: Literal["compress", "drop"] = "compress"
    keep_shards: bool = True


class Compute(Section):
    """Where and how the model runs. ``auto``: cuda where there is one, float32 on a CPU and bfloat16 on a GPU.

    Sums taken by another number of threads can differ in their last bit: a number in ``threads`` makes results
    independent of the machine's cores, and lets several stages share them.
    """

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = Field("auto", description="of a CPU; auto: all cores")
    batch_tokens: int = Field(8192, ge=1, description="upper bound on the tokens of one micro-batch")
    hidden_memory_gb: float = Field(
        8,
        ge=0,
        description="hidden states of all calibration tokens that take more lie in mapped files (GB: 10^9 bytes)",
    )

    @property
    def hidden_memory(self) -> float:
        """`hidden_memory_gb` in bytes."""
        return self.hidden_memory_gb * 1e9

    @property
    def placement(self) -> tuple[str, str, int | str]:
        """Device, dtype and threads as they are written, for `ream.models.decoder.runtime`."""
        return self.device, self.dtype, self.threads


class Merge(Section):
    """How compressed checkpoints are written."""

    dtype: Literal["original", "bfloat16"] = Field(
        "original", description="of quantised originals: in their own format, or all of it in bfloat16"
    )
    shard_gb: float | None = Field(None, gt=0, description="fill shards up to so many GB; null: the original's shards")
