"""A Markdown table of what `benchmarks/gpu.sh` has measured: `python -m benchmarks.gpu_table FOLDER`."""

import json
import sys
from pathlib import Path


def speed_rows(result: dict) -> list[str]:
    """One row for each part of a layer."""
    rows = [f"{result['shape']} on {result['device']}, {result['dtype']}, {result['tokens']} tokens", ""]
    rows += ["| part | seconds | TFLOP/s | of the rate of matrix products | projected, one layer |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, part in result["parts"].items():
        rate = f"{part['rate'] / 1e12:.3g} | {part['share']:.0%}" if part["flops"] else " | "
        rows.append(f"| {name} | {part['seconds']:.3g} | {rate} | {part['projected']:.3g} s |")
    return [*rows, "", f"Whole model, projected: {result['projected_model_seconds']:.0f} s", ""]


def walk_rows(result: dict) -> list[str]:
    """One row for each method."""
    rows = [f"{result['layers']} layers of {result['shape']} on {result['device']}, {result['bytes'] / 1e9:.1f} GB, "
            f"{result['sequences']} × 512 tokens", "",
            "| method | fit | from tokens to written checkpoint | fit of the whole model, projected |",
            "| --- | --- | --- | --- |"]  # fmt: skip
    rows += [
        f"| `{method}` | {each['seconds']:.1f} s | {each['whole_seconds']:.1f} s | {each['projected_seconds']:.0f} s |"
        for method, each in result["methods"].items()
    ]
    return rows


def main() -> None:
    """Print the tables of the results that are there."""
    folder = Path(sys.argv[1])
    for name, rows in (("speed.json", speed_rows), ("walks.json", walk_rows)):
        if (folder / name).exists():
            print("\n".join(rows(json.loads((folder / name).read_text()))))
        else:
            print(f"{name} was not written; see {name.removesuffix('.json')}.txt\n")


if __name__ == "__main__":
    main()
