"""Programs that have ream imported and run `ream ...` in forked children, and how a test asks them for runs.

Starting an interpreter with torch takes seconds, forking one takes none: this lets a test kill hundreds of real
processes. A test and such a program exchange lines of JSON: what is to be run, and what came of it.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
from contextlib import contextmanager

from ream.commands import cli
from tests.tiny import ROOT

# What a run imports: pyarrow looks for pandas, scipy and transformers load their modules when they are used.
IMPORTED = [
    "pandas",
    "pyarrow.parquet",
    "scipy.cluster.hierarchy",
    "scipy.optimize",
    "torch",
    "transformers.models.qwen3_moe.modeling_qwen3_moe",
    "ream.recipe.output",
    "ream.compress.one_shot",
    "ream.walk.ranks",
    "ream.compress.sequential",
    "ream.recipe.contents",
    "ream.commands.compress",
    *(
        f"ream.stages.{name}"
        for name in ("alignment", "calibration", "grouping", "model", "saliency", "sequential", "statistics")
    ),
    "ream.commands.resume",
]


@contextmanager
def program(name):
    """Starts the program tests/commands/NAME.py and yields a function from a job to its answer."""
    command = [sys.executable, "-m", f"tests.commands.{name}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def ask(**job):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        assert process.wait(60) == 0


def serve(run):
    """The program's side: runs the jobs that it is given."""
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()  # children share these pages
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def ream(arguments):
    """Run `ream ...` and end this process with its exit code."""
    sys.argv = ["ream", *arguments]
    code = 70
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
