"""Process-wide state while lm-eval runs: random streams, its log and the permission to execute code."""

import logging
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial


def seed_global_streams(seeds: Mapping[str, int]) -> None:
    """Seed the global random streams as lm_eval.simple_evaluate does; tasks and sampled generation draw from them.

    Args:
        seeds: of ``random``, ``numpy`` and ``torch``.
    """
    import numpy as np
    import torch

    random.seed(seeds["random"])
    np.random.seed(seeds["numpy"])
    torch.manual_seed(seeds["torch"])


def seed_language_detection(seed: int) -> None:
    """Seed langdetect, by which IFEval recognises the language of an answer, where a task has loaded it.

    Each detection draws numbers; without a seed two evaluations of the same answers can differ.

    Args:
        seed: of every detection.
    """
    module = sys.modules.get("langdetect.detector_factory")
    if module is not None:
        module.DetectorFactory.seed = seed


@contextmanager
def code_execution(allowed: bool) -> Iterator[None]:
    """Let the metric code_eval (`ream.evaluation.code_eval`) run within the block, if ``allowed``."""
    before = os.environ.get("HF_ALLOW_CODE_EVAL")
    if not allowed:
        yield
        return
    os.environ["HF_ALLOW_CODE_EVAL"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_ALLOW_CODE_EVAL"]
        else:
            os.environ["HF_ALLOW_CODE_EVAL"] = before


@contextmanager
def quiet() -> Iterator[None]:
    """Silence lm-eval's log of every step within the block, and its progress bars if stderr is not a terminal."""
    import lm_eval.api.task as task_module
    from tqdm import tqdm

    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    task_module.tqdm = partial(tqdm, disable=not sys.stderr.isatty())
    try:
        yield
    finally:
        logger.setLevel(level)
        task_module.tqdm = tqdm
