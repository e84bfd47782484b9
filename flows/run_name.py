"""What a flow run is called: what it does, such as `evaluate@balanced code=0.6`."""

from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 100  # characters; the UI's lists show no more


def run_name(targets: Sequence[str], values: Mapping[str, Any]) -> str:
    """The targets and the changed settings, each by the last part of its name where no other has the same.

    Args:
        targets: stages or kinds of stages; none are the whole graph.
        values: new values in params.yaml, by dotted name.
    """
    last = [name.rpartition(".")[2] for name in values]
    settings = [f"{short if last.count(short) == 1 else name}={value}"
                for (name, value), short in zip(values.items(), last, strict=True)]  # fmt: skip
    name = " ".join([*(targets or ["all"]), *settings])
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def name_of_this_run() -> str:
    """The name of the flow run that Prefect is about to start, from its parameters."""
    from prefect.runtime import flow_run

    parameters = flow_run.parameters
    return run_name(parameters.get("targets") or [], parameters.get("set_params") or {})
