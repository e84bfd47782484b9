"""Searches of mixes with several seeds: hypervolume of the front against that of the known mixes, on unseen text.

    python -m benchmarks.mix_search WORKSPACE OUT --params params.yaml --method reap --experts 16 --seeds 3

WORKSPACE has a manifest, calibration sequences and statistics (`dvc repro statistics`). The seeds share the text and
the measurements of the known mixes, which are the same for all; what they cost is counted with the first. Seconds are
processor seconds of this process: on a busy machine wall seconds say little.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from ream.analysis.numbers.dominated import dominated_volume
from ream.machine.scratch import scratch
from ream.params import Params, load_params, parse_params
from ream.search.known import known_mixes
from ream.search.records import read_record
from ream.search.resampled import reference_of
from ream.search.run import search
from ream.search.session import Asked, Session, begin
from ream.search.suggestions import FOUND
from ream.workspace.layout import Workspace


def main() -> None:
    """Run the searches and write a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--method", default="reap")
    parser.add_argument("--experts", type=int, required=True)
    parser.add_argument("--objectives", default="general,code")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=NUMBER", help="of the section search")
    given = parser.parse_args()
    tree = load_params(given.params).model_dump()
    tree["run"]["search"] = [given.method]
    chosen = {key: type_of(value) for key, _, value in (text.partition("=") for text in given.set)}
    own = {"objectives": given.objectives.split(","), "trials": given.trials, **chosen}
    states: list[Path] = []
    for seed in range(given.seeds):
        params = parse_params({**tree, "search": {**tree["search"], **own, "seed": seed}})
        states.append(given.out / f"{given.method}-{given.experts}-{seed}")
        line = one(params, Workspace(given.workspace), given.method, given.experts, states)
        print(json.dumps(line), flush=True)
        with open(given.out / "results.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def type_of(text: str) -> int | str:
    """A whole number where the text is one."""
    return int(text) if text.isdecimal() else text


def one(params: Params, workspace: Workspace, method: str, experts: int, states: list[Path]) -> dict[str, object]:
    """One search: processor seconds, hypervolumes, and the front's share of the best volume over the trials."""
    state = states[-1]
    known = len(known_mixes({source: params.sources[source] for source in params.run.sources}))
    started = time.process_time()
    with scratch(workspace.scratch) as folder:
        asked = Asked(method, experts, "benchmark", state, folder)
        state.mkdir(parents=True, exist_ok=True)
        begin(state, Session.facts(params, workspace, asked), discard_stale=True)
        if len(states) > 1:
            share(states[0], state, known)
        session = Session(params, workspace, asked)
        opened = time.process_time()
        record = search(session, state / "out", workspace.windows, lambda _: None, lambda *_: None)
    told = session.trials.told()
    values = np.array([told[number] for number in sorted(told)])
    reference = reference_of(values[:known])
    over = {n: dominated_volume(-values[:n], -reference) for n in (known, 20, 30, len(values)) if n <= len(values)}
    found = [mix for mix in record.front if mix.origin == FOUND]
    assert record.volumes is not None
    return {
        "method": method, "experts": experts, "seed": params.search.seed, "trials": len(values), "known": known,
        "seconds to open": round(opened - started, 1), "seconds": round(time.process_time() - opened, 1),
        "front": len(record.front), "found": len(found), "volumes over trials (search text)": over,
        "volumes": read_record(state / "out" / "search.json").volumes.model_dump(),  # type: ignore[union-attr]
        "mixes": {mix.written: {k: round(v.value, 4) for k, v in mix.final.items()} for mix in record.front},
    }  # fmt: skip


def share(first: Path, state: Path, known: int) -> None:
    """Give a search the text and the measurements of the known mixes of another one."""
    if not (state / "text").exists():
        shutil.copytree(first / "text", state / "text")
    for path in first.glob("batch-*.safetensors"):
        if int(path.stem.partition("-")[2]) < known:
            shutil.copy(path, state / path.name)
    wanted = {f"trial-{number}" for number in range(known)} | {"original"}
    sums = {name: own for path in first.glob("final-*.safetensors") for name, own in load_file(path).items()}
    if not list(state.glob("final-*.safetensors")):
        save_file({name: own for name, own in sums.items() if name in wanted}, state / "final-0.safetensors")


if __name__ == "__main__":
    main()
