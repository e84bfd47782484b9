"""Peak memory of scoring a generated checkpoint with the backends layers and hf, and whether their scores are equal.

    python -m benchmarks.layers [--folder FOLDER] [--layers 24] [--items 2000] [--backends layers hf] ...

The checkpoint is that of benchmarks/memory.py: random bfloat16 weights in Qwen3-MoE's layout, computed in float32. The
questions are random words with four answers of a letter. Each backend runs in a child process (`ream evaluate`), whose
peak resident memory the kernel counts. The files are removed at the end; --keep leaves the checkpoint.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.memory import ROOT, Sizes, generate, libraries, measured

TASK = """task: bench
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1}}
"""


def write_task(folder: Path, items: int, words: int) -> None:
    """Write a task of random questions for lm-eval.

    Args:
        folder: for the task and its rows.
        items: number of questions.
        words: of a question.
    """
    draw, folder_of_rows = random.Random(0), folder / "rows"
    folder_of_rows.mkdir()
    lines = []
    for _ in range(items):
        text = " ".join("".join(draw.choices("aeioubcdlmnrst", k=draw.randint(2, 6))) for _ in range(words))
        lines.append(json.dumps({"question": text, "label": draw.randrange(4)}))
    rows = folder_of_rows / "bench.jsonl"
    rows.write_text("\n".join(lines) + "\n")
    (folder / "bench.yaml").write_text(TASK.format(rows=rows))


def command(model: Path, task: Path, out: Path, backend: str, options: argparse.Namespace) -> list[str]:
    """The `ream evaluate` command for a backend."""
    settings = {
        "suites.demo.mc": "[bench]", "suites.demo.gen": "[]", "suites.demo.chat_template": "[]",
        "suites.demo.loss": "[math]" if options.windows else "[]",
        "suites.demo.loss_sequences": max(1, options.windows), "evaluation.include": task,
        "compute.threads": options.threads,
        "compute.device": "cpu", "compute.batch_tokens": options.batch_tokens,
        "compute.hidden_memory_gb": options.hidden_memory_gb,
    }  # fmt: skip
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [
        sys.executable, "-m", "ream", "evaluate", str(model), "--backend", backend, "--out", str(out),
        "--params", str(ROOT / "params.yaml"), *given,
    ]  # fmt: skip


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"layers": 24, "experts": 128, "hidden": 1024, "width": 336, "vocabulary": 151_936}
    for name, default in (
        sizes | {"items": 2000, "words": 8, "windows": 10, "threads": 1, "batch-tokens": 4096}
    ).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--hidden-memory-gb", type=float, default=8)
    parser.add_argument("--backends", nargs="+", choices=("layers", "hf"), default=["layers"])
    parser.add_argument("--folder", type=Path, help="folder for the files [default: a temporary one]")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoint")
    return parser.parse_args()


def main() -> None:
    """Generate the checkpoint, score it with each backend and print a line for each."""
    options = parse()
    sizes = Sizes(options.layers, options.experts, options.hidden, options.width, options.vocabulary)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        model = (options.folder or folder) / "model"
        if not model.exists():
            model.mkdir()
            generate(model, sizes)
        task = folder / "task"
        task.mkdir()
        write_task(task, options.items, options.words)
        size = sum(path.stat().st_size for path in model.glob("*.safetensors"))
        layer = 4 * sizes.layer / 1e9
        head = 4 * sizes.hidden * sizes.vocabulary / 1e9
        print(f"checkpoint {size / 1e9:.2f} GB; in float32 a layer {layer:.2f} GB, the head {head:.2f} GB", flush=True)
        print(f"libraries alone: {libraries(folder) / 1e9:.2f} GB", flush=True)
        for backend in options.backends:
            out = folder / f"{backend}.json"
            used = measured(command(model, task, out, backend, options), folder / f"{backend}.log")
            cell = json.loads(out.read_text())["cells"][0]
            print(
                f"{backend}: peak {used.peak / 1e9:.2f} GB, {used.seconds:.0f} s, {used.read / 1e9:.1f} GB read; "
                f"{cell['tasks']['bench']['items']} items, MC {cell['mc']:.3f}, "
                f"loss {cell['mean_loss'] or 0:.6f} on {options.windows} windows",
                flush=True,
            )
        if options.folder is not None and not options.keep:
            shutil.rmtree(model)


if __name__ == "__main__":
    main()
