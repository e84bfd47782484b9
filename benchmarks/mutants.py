"""Mutation testing: how many small changes of a module its tests notice.

    pip install -c constraints.txt -e '.[mutation]'      # not part of the environment that make sets up
    python benchmarks/mutants.py ream/core/grouping.py tests/core/test_grouping.py [--count 15] [--seed 14]

Mutants are drawn from those of all cosmic-ray operators, outside of annotations, at most one at a place in the source.
They are made in a clone of the last commit. Prints each that survives, and the fraction killed.
"""

import argparse
import ast
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        line: of the change.
        operator: cosmic-ray's name of the kind of change.
        source: of the changed module.
    """

    line: int
    operator: str
    source: str


def mutants(source: str, count: int, seed: int) -> list[Mutant]:
    """A sample of the mutants of a module.

    Args:
        source: of the module.
        count: number of mutants at most.
        seed: of the sample.
    """
    import parso
    from cosmic_ray.ast import ast_nodes
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    annotated = annotations(source)
    nodes = list(ast_nodes(parso.parse(source)))
    sites: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for name in sorted(operator_names()):
        if "Variable" in name:  # these operators need arguments
            continue
        positions = [start for node in nodes for start, _ in get_operator(name)().mutation_positions(node)]
        for occurrence, start in enumerate(positions):
            if not any(begin <= start < end for begin, end in annotated):
                sites.setdefault(start, []).append((name, occurrence))
    generator = random.Random(seed)
    places = sorted(sites)
    generator.shuffle(places)
    sample: list[Mutant] = []
    for place in places:
        name, occurrence = generator.choice(sites[place])
        changed = mutate_code(source, get_operator(name)(), occurrence)
        if changed and changed != source and is_python(changed):
            sample.append(Mutant(place[0], name, changed))
        if len(sample) == count:
            break
    return sample


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations begin and end, as (line, column): a change there shows at import, if at all."""
    nodes = [
        annotation
        for node in ast.walk(ast.parse(source))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if isinstance(annotation, ast.expr)
    ]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)) for node in nodes
    ]


def is_python(source: str) -> bool:
    """Whether a text can be compiled."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def is_killed(folder: Path, tests: list[str], seconds: float) -> bool:
    """Whether the tests fail, or take longer than so many seconds."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return True
    return ended.returncode != 0


def main() -> None:
    """Run the mutants of one module and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", help="path of the module")
    parser.add_argument("tests", nargs="+", help="tests that should notice, as for pytest")
    parser.add_argument("--count", type=int, default=15, help="mutants at most")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=180, help="for the tests of one mutant")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ream-mutants-") as temporary:
        folder = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
        path = folder / options.module
        source = path.read_text(encoding="utf-8")
        if is_killed(folder, options.tests, options.seconds):
            sys.exit("the tests fail, or take too long, without any change")
        sample = mutants(source, options.count, options.seed)
        survivors = []
        for number, mutant in enumerate(sample, 1):
            path.write_text(mutant.source, encoding="utf-8")
            if not is_killed(folder, options.tests, options.seconds):
                survivors.append(mutant)
            print(f"\r{number} of {len(sample)}, {len(survivors)} survive", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    before = source.splitlines()
    for mutant in survivors:
        changed = mutant.source.splitlines()
        print(f"{options.module}:{mutant.line} {mutant.operator}: {before[mutant.line - 1].strip()}")
        print(f"    -> {changed[mutant.line - 1].strip()}")
    killed = len(sample) - len(survivors)
    print(f"{options.module}: {killed} of {len(sample)} mutants killed ({killed / max(1, len(sample)):.0%})")


if __name__ == "__main__":
    main()
