"""A method of ream: `python -m benchmarks.peers.ours MODEL TOKENS.parquet EXPERTS THREADS METHOD [SETTING ...]`.

Prints one line of JSON: processor seconds from the tokens to the recipe, without imports and without writing the
checkpoint, and the experts that are kept in each layer.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Compress the model on the tokens, print seconds and kept experts."""
    model, tokens, experts, threads, method, *settings = sys.argv[1:]
    import torch

    from ream.commands import compress
    from ream.commands.request import Request
    from ream.models import decoder  # noqa: F401 - imported before the clock runs
    from ream.recipe.contents import recipe_name
    from ream.recipe.recipe_file import load_recipe

    torch.set_num_threads(int(threads))
    seconds, decide = [], compress._decide

    def timed(*arguments: Any) -> None:
        """The stages from the calibration sequences to the recipe."""
        began = time.process_time()
        decide(*arguments)
        seconds.append(time.process_time() - began)

    compress._decide = timed
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        request = Request(
            model=model,
            out=out,
            experts=int(experts),
            method=method,
            calibration=Path(tokens),
            device="cpu",
            settings=(f"compute.threads={threads}", "compute.dtype=float32", *settings),
        )
        params = Path(compress.__file__).parents[1] / "params" / "default.yaml"
        compress.compress_model(request, params, lambda line: None, lambda line: None)
        layers = load_recipe(out / recipe_name(out)).layers
    kept = [layer.groups.kept.tolist() for layer in layers.values()]
    print(json.dumps({"seconds": seconds[0], "kept": kept}))


if __name__ == "__main__":
    main()
