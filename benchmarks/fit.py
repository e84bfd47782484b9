"""Seconds from tokens to a recipe: `python -m benchmarks.fit MODEL TOKENS.parquet EXPERTS METHOD [SETTING ...]`.

Other benchmarks run this in a process of its own. It prints one line of JSON: processor and wall seconds of the fit,
without imports and without writing the checkpoint, wall seconds of all, and the experts kept in each layer.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Compress the model on the tokens, print seconds and kept experts."""
    model, tokens, experts, method, *settings = sys.argv[1:]
    from ream.commands import compress
    from ream.commands.request import Request
    from ream.models import decoder  # noqa: F401 - imported before the clock runs
    from ream.recipe.contents import recipe_name
    from ream.recipe.recipe_file import load_recipe

    seconds: dict[str, float] = {}
    decide = compress._decide

    def timed(*arguments: Any) -> None:
        """The stages from the calibration sequences to the recipe."""
        processor, wall = time.process_time(), time.perf_counter()
        decide(*arguments)
        seconds.update(cpu_seconds=time.process_time() - processor, seconds=time.perf_counter() - wall)

    compress._decide = timed
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        request = Request(
            model=model,
            out=out,
            experts=int(experts),
            method=method,
            calibration=Path(tokens),
            settings=tuple(settings),
        )
        params = Path(compress.__file__).parents[1] / "params" / "default.yaml"
        compress.compress_model(request, params, lambda line: None, lambda line: None)
        layers = load_recipe(out / recipe_name(out)).layers
    kept = [layer.groups.kept.tolist() for layer in layers.values()]
    print(json.dumps({**seconds, "whole_seconds": time.perf_counter() - began, "kept": kept}))


if __name__ == "__main__":
    main()
