"""What commands import and what starting costs: a fresh Python does what the command does, then names its modules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ream.commands import cli
from ream.models.inspection.manifest import Manifest
from ream.walk.layer_file import layer_file
from ream.workspace.layout import Workspace
from tests import tiny
from tests.core.layers import FIELDS

ROOT = Path(cli.__file__).parents[2]
EXPERTS, HIDDEN = 8, 6
# What takes a tenth of a second or more to import, and seconds in the case of torch and those that bring it.
HEAVY = {
    "torch", "transformers", "tokenizers", "datasets", "lm_eval", "scipy", "sklearn", "pandas", "pyarrow", "matplotlib",
    "PIL", "jinja2", "networkx", "sympy", "dvc", "prefect", "huggingface_hub", "httpx", "httpx2", "requests", "rich",
}  # fmt: skip
# What the command line imports of ream before a command runs.
COMMAND_LINE = {
    "ream", "ream.errors", "ream.machine", "ream.machine.sharing", "ream.machine.shipped", "ream.workspace",
    "ream.workspace.layout", "ream.workspace.options", "ream.commands",
    *(
        f"ream.commands.{name}"
        for name in (
            "cli", "configuring", "options", "output", "request", "inspect", "estimate", "compress", "apply", "verify",
            "evaluate", "compare", "import_tokens", "stage", "stage_entries", "ending", "shipped", "examples", "init",
            "params", "texts", "local_text", "mixes", "search", "adopting", "compressing", "work", "scoring",
        )
    ),
}  # fmt: skip
HELP_SECONDS = 0.6  # four times what it takes

RUN = """
import json, sys
from ream.commands import cli
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["ream", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        codes.append(end.code or 0)
print("\\n" + json.dumps([codes, sorted(sys.modules)]))
"""


def fresh(code, *arguments):
    """The last line that a fresh Python prints, parsed as JSON."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def loaded_by(*commands, code=0):
    """Names of all modules loaded by ream's commands, run in one fresh process, each of which exits with that code."""
    codes, modules = fresh(RUN, json.dumps([[str(word) for word in command] for command in commands]))
    assert codes == [code] * len(commands)
    return set(modules)


def packages(modules):
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Makes the arguments of a command that runs a stage on random statistics of one layer."""
    folder = tmp_path_factory.mktemp("starting")
    params, workspace = tiny.write_params(folder / "params"), Workspace(folder / "artifacts")
    Manifest(
        path="model", revision=None, family="qwen3_moe", layers=1, moe_layers=[0], experts=EXPERTS, top_k=2,
        hidden=HIDDEN, width=4, router_groups=1, router_top_groups=1, router_group_best=1, multi_token="compress",
        scores="softmax", parameters=1, dtype="F32", shards={}, digest="0",
    ).save(workspace.manifest)  # fmt: skip
    generator = np.random.default_rng(0)
    shapes = {
        "tokens": (), "output_sum": (EXPERTS, HIDDEN), "gated_output_sum": (EXPERTS, HIDDEN),
        "logit_gram": (EXPERTS, EXPERTS),
    }  # fmt: skip
    for source in ("a", "b"):
        arrays = {name: np.asarray(generator.random(shapes.get(name, EXPERTS))) for name in FIELDS}
        arrays["logit_gram"] = arrays["logit_gram"] @ arrays["logit_gram"].T
        file = layer_file(workspace.statistics(source), 0)
        file.parent.mkdir(parents=True)
        save_file(arrays, file)
        (file.parent / "facts.json").write_text('{"corpus": "hash"}')

    def command(name, *options):
        return ["stage", name, *options, "--params", params, "--root", workspace.root]

    return command


def test_help_and_version_import_only_the_command_line():
    modules = loaded_by(["--help"], ["--version"])
    assert not packages(modules) & (HEAVY | {"pydantic", "numpy", "yaml", "jaxtyping", "safetensors"})
    assert {name for name in modules if name.startswith("ream")} == COMMAND_LINE


def test_help_of_commands_and_mistyped_ones_import_only_the_command_line():
    helps = [
        [name, "--help"]
        for name in ("inspect", "estimate", "compress", "apply", "verify", "evaluate", "compare", "stage")
    ]
    modules = loaded_by(*helps)
    assert not packages(modules) & (HEAVY | {"numpy", "yaml", "jaxtyping", "safetensors"})
    assert {name for name in modules if name.startswith("ream")} == COMMAND_LINE
    wrong = loaded_by(["compres"], ["compress", "--expert", "3"], ["stage", "reports"], code=2)
    assert not packages(wrong) & (HEAVY | {"jaxtyping"})


def test_saliency_and_grouping_import_numpy_alone(stage):
    modules = loaded_by(
        stage("saliency", "--mix", "balanced"),
        stage("grouping", "--mix", "balanced", "--method", "reap", "--experts", "4"),
    )
    assert "ream.compress.decide" in modules
    assert not packages(modules) & HEAVY


def test_describing_a_model_imports_no_torch(stage, checkpoint, tmp_path):
    modules = loaded_by(["inspect", checkpoint])
    assert "ream.models.inspection.describe" in modules
    assert not packages(modules) & (HEAVY | {"jaxtyping", "yaml"})
    params = tiny.write_params(tmp_path / "params", model=checkpoint)
    modules = loaded_by(["stage", "model", "--params", params, "--root", tmp_path / "artifacts"])
    assert "ream.models.storage.finite" in modules
    assert not packages(modules) & HEAVY


def test_clustering_imports_only_what_clusters_of_scipy(stage):
    modules = loaded_by(
        stage("saliency", "--mix", "balanced"),
        stage("grouping", "--mix", "balanced", "--method", "hc-smoe", "--experts", "4"),
    )
    assert packages(modules) & HEAVY == {"scipy"}
    assert "scipy.cluster.hierarchy" in modules
    assert not modules & {"scipy.stats", "scipy.optimize", "scipy.signal", "scipy.interpolate", "scipy.integrate"}


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("items", {"tokenizers"}),
        ("calibration", {"tokenizers", "pyarrow"}),
        ("merge", set()),
        ("metrics", set()),
        ("report", {"jinja2"}),  # matplotlib where a figure is drawn
    ],
)
def test_modules_of_stages_import_what_they_need_alone(name, needed):
    modules = set(fresh(f"import json, sys, ream.stages.{name}; print(json.dumps(sorted(sys.modules)))"))
    assert packages(modules) & HEAVY == needed


def test_help_takes_little_of_the_processor():
    def seconds():
        child = subprocess.Popen(
            [sys.executable, "-m", "ream.commands.cli", "--help"], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(3)) < HELP_SECONDS
