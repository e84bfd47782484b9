"""Arguments of vLLM's engine: those that settings may give, and those that ream gives itself."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ream import params
from ream.errors import UNUSABLE, UserError, one_line, unknown
from ream.evaluation.backends.vllm_recorded import ARGUMENTS, VERSION

if TYPE_CHECKING:
    import torch

_OF_MODEL = (
    "model", "model_weights", "served_model_name", "revision", "tokenizer", "tokenizer_revision", "code_revision",
    "hf_config_path",
)  # fmt: skip
_CODE = (
    "worker_cls", "worker_extension_cls", "scheduler_cls", "logits_processors", "model_class_overrides",
    "reasoning_parser_plugin", "io_processor_plugin",
)  # fmt: skip
# What settings cannot give, and why.
DECIDED = {
    **dict.fromkeys(_OF_MODEL, "the argument MODEL sets it"),
    **dict.fromkeys(_CODE, "it names code, and settings run none"),
    "seed": "evaluation.seed sets it",
    "max_model_len": "evaluation.max_length sets it",
    "trust_remote_code": "model.trust_remote_code sets it",
    "hf_token": "the environment variable HF_TOKEN sets it",
    "load_format": "checkpoints are read as safetensors, never with pickle",
    "pt_load_map_location": "checkpoints are read as safetensors, never with pickle",
}


def with_dtype(evaluation: params.Evaluation, dtype: "torch.dtype") -> params.Evaluation:
    """The settings with the dtype for vLLM's engine, unless they name one; those of other backends as they are.

    Without it the engine would take the checkpoint's dtype, and held-out losses would be of another model than scores.

    Args:
        evaluation: the settings.
        dtype: that other backends compute in.
    """
    if evaluation.backend != "vllm":
        return evaluation
    arguments = {"dtype": str(dtype).removeprefix("torch."), **evaluation.vllm}
    return evaluation.model_copy(update={"vllm": arguments})


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that vLLM's engine does not have, or that ream gives itself.

    They are compared with the installed vLLM's own; where it is not installed, with those of VERSION.

    Raises:
        UserError: names the argument and the nearest one; or the installed vLLM cannot be imported.
    """
    for name in arguments:
        if name in DECIDED:
            raise UserError(f"evaluation.vllm.{name} cannot be set here; {DECIDED[name]}")
    if not arguments:
        return
    known, version = _installed() if find_spec("vllm") is not None else (ARGUMENTS, VERSION)
    for name in arguments:
        if name not in known:
            near = unknown("evaluation.vllm: argument", name, known - DECIDED.keys(), f"vLLM {version}")
            raise UserError(
                str(near).partition(f"vLLM {version} has:")[0] + f"see the engine arguments of vLLM {version}"
            )


def _installed() -> tuple[frozenset[str], str]:
    """The arguments of the installed vLLM's engine, and its version."""
    from dataclasses import fields

    from ream.evaluation.backends.vllm_start import version_of_vllm

    try:
        from vllm.engine.arg_utils import EngineArgs
    except UNUSABLE as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(f"evaluation.backend: vllm cannot be imported ({reason}); install it again") from error
    return frozenset(field.name for field in fields(EngineArgs)), version_of_vllm()
