"""The graph of dvc.yaml as a Mermaid diagram: one node for each kind of stage."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.graph import Stage, read_graph
from ream.errors import UserError

BEGIN, END = "<!-- made by `python -m flows graph --into README.md` -->", "<!-- end of the graph -->"


def diagram(root: Path) -> str:
    """The kinds of stages and what each needs, as Mermaid text; needs that follow from others are left out.

    A kind with several stages says of what there is one each. Kinds without stages, whose list in params.yaml is empty,
    are left out.

    Args:
        root: the repository.

    Raises:
        UserError: see `flows.graph.read_graph`.
    """
    import yaml

    stages = read_graph(root)
    written = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    kind_of = {stage.group: stage.kind for stage in stages.values()}  # several matrices may be of one kind
    definitions: dict[str, Mapping[str, Any]] = {}
    for group in (name for name in written if name in kind_of):
        known = definitions.setdefault(kind_of[group], written[group])
        if "matrix" not in known and "matrix" in written[group]:
            definitions[kind_of[group]] = written[group]
    kinds = list(definitions)
    nodes = [f'    {_identifier(kind)}["{_label(kind, definitions[kind])}"]' for kind in kinds]
    edges = _needed_kinds(stages)
    place = {kind: index for index, kind in enumerate(kinds)}
    ordered = sorted(edges, key=lambda edge: (place[edge[0]], place[edge[1]]))
    arrows = [f"    {_identifier(first)} --> {_identifier(then)}" for first, then in ordered]
    return "\n".join(["```mermaid", "graph LR", *nodes, *arrows, "```"])


def put_into(text: str, made: str, name: str) -> str:
    """A page with the diagram between its two marks.

    Raises:
        UserError: the page does not have the two marks once, in order.
    """
    parts = re.split(f"({re.escape(BEGIN)}|{re.escape(END)})", text)
    if parts[1::2] != [BEGIN, END]:
        raise UserError(f"{name} has no place for the graph; put the lines {BEGIN} and {END} there")
    return f"{parts[0]}{BEGIN}\n{made}\n{END}{parts[4]}"


def _needed_kinds(stages: Mapping[str, Stage]) -> set[tuple[str, str]]:
    """Pairs of kinds, the second of which needs the first and reaches it over no other."""
    import networkx as nx

    graph = nx.DiGraph(
        (stages[need].kind, stage.kind)
        for stage in stages.values()
        for need in stage.needs
        if stages[need].kind != stage.kind
    )
    if nx.is_directed_acyclic_graph(graph):
        graph = nx.transitive_reduction(graph)
    return set(graph.edges)


def _label(kind: str, written: Mapping[str, Any]) -> str:
    """The kind and, below, of what it has one stage each."""
    of = " × ".join(written["matrix"]) if "matrix" in written else str(written.get("foreach", "")).strip("${}")
    return f"{kind}<br><i>{of}</i>" if of else kind


def _identifier(kind: str) -> str:
    """The kind as a name in Mermaid, which has words of its own, such as `end`."""
    return f"{kind.replace('-', '_')}_"
