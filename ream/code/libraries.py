"""The libraries that numbers depend on, and their installed versions."""

from collections.abc import Iterable
from functools import cache

# What the models of transformers compute with; lm-eval evaluates with these, and with vllm where it is asked to.
MODELS = ("transformers", "tokenizers", "torch", "numpy")
DOCUMENTATION = ("numpy", "scipy", "pandas", "scikit-learn", "matplotlib", "networkx", "sympy", "torch", "transformers")
# The module that is imported, to the distributions that decide what comes out of it. Left out are libraries that store
# and show values without changing them (safetensors, pyarrow, pyyaml, pydantic, jinja2), fetch files whose revision is
# pinned (huggingface-hub), or are the program around the numbers (typer, rich, tqdm, dvc). sympy computes only in tasks
# of lm-eval that no suite of the paper has.
LIBRARIES = {
    "datasets": ("datasets",),  # the order of a shuffled stream
    "lm_eval": ("lm-eval", "datasets", "vllm", *MODELS),
    "matplotlib": ("matplotlib", "numpy"),
    "numpy": ("numpy",),
    "optuna": ("optuna", "scipy", "numpy"),  # which mixes are tried
    # The built-in text is the documentation of Python and of these packages, and the sources of Python.
    "pydoc_data": ("python", *DOCUMENTATION),
    "sysconfig": ("python",),
    "scipy": ("scipy", "numpy"),
    "tokenizers": ("tokenizers",),
    "torch": ("torch", "numpy"),
    "transformers": MODELS,
    "vllm": ("vllm", *MODELS),
}


def versions(imported: Iterable[str]) -> dict[str, str | None]:
    """Distributions in alphabetical order with their full versions; None where one is not installed.

    Args:
        imported: names of top-level modules; those not in LIBRARIES are passed over.
    """
    distributions = {name for module in imported for name in LIBRARIES.get(module, ())}
    return {name: _version(name) for name in sorted(distributions)}


@cache
def _version(distribution: str) -> str | None:
    import platform

    from ream.machine.installed import installed

    if distribution == "python":
        return platform.python_version()
    found = installed(distribution)
    if found is None:
        return None
    return found.version if found.name == distribution else f"{found.version} of {found.name}"
