"""Runs stages and records what of ream they really execute: a program, `python -m tests.code.record PLAN`.

PLAN is a JSON file: {"params": a params file, "root": the folder of the artifacts, "stages": [[stage, options], …]}. A
child is forked for each kind of stage, so that the modules in it are those which this kind imports. The libraries are
imported before, which saves their time, and nothing of ream is. The last line printed is JSON: what `recorded` returns
for each kind of stage.
"""

import importlib
import inspect
import json
import os
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = f"{ROOT / 'ream'}{os.sep}"
SETTINGS = f"{PACKAGE}params{os.sep}"
LIBRARIES = (
    "jaxtyping", "jinja2", "matplotlib.figure", "numpy", "pyarrow.parquet", "pydantic", "safetensors.torch",
    "scipy.cluster.hierarchy", "scipy.optimize", "tokenizers", "tqdm", "typer",
    "transformers.models.qwen3_moe.modeling_qwen3_moe", "yaml",
)  # fmt: skip
AT_ONCE = {"<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>"}


class Settings:
    """Watches what is read of the settings.

    Attributes:
        checking: whether the params file is being read and checked.
        sections: sections that were read apart from that.
    """

    def __init__(self):
        """Watch the settings from now on."""
        from ream import params

        self.checking, self.sections = False, set()
        load, read = params.load_params, params.Params.__getattribute__

        def loading(path):
            self.checking = True
            settings = load(path)
            self.checking = False
            return settings

        def reading(settings, name):
            if not self.checking and name in params.Params.model_fields:
                self.sections.add(name)
            return read(settings, name)

        params.load_params, params.Params.__getattribute__ = loading, reading


def recorded(plan, runs):
    """What the runs of a kind of stage read and execute.

    Returns:
        modules: names of all modules of ream.
        codes: [file, line, name] of functions that were called.
        checks: those that were called while the params file was read, or ream.params imported.
        sections: sections of the settings that were read after that.
        files: files of the package that were opened, apart from Python files.
    """
    codes, checks, files = set(), set(), set()
    settings = None

    def called(frame, event, argument):
        code = frame.f_code
        file = code.co_filename  # that of a template's code is no Python file
        # Bodies of modules and classes, and comprehensions outside of functions, run when the module is imported.
        if not file.startswith(PACKAGE) or not file.endswith(".py") or not code.co_flags & inspect.CO_OPTIMIZED:
            return
        back = frame.f_back
        if code.co_name in AT_ONCE and back is not None and not back.f_code.co_flags & inspect.CO_OPTIMIZED:
            return
        checked = file.startswith(SETTINGS) if settings is None else settings.checking
        (checks if checked else codes).add((file, code.co_firstlineno, code.co_qualname))

    def opened(event, arguments):
        if event == "open" and str(arguments[0]).startswith(PACKAGE) and "__pycache__" not in str(arguments[0]):
            files.add(str(arguments[0]))

    sys.addaudithook(opened)
    threading.settrace(called)  # "call" alone, because no local trace function is returned
    sys.settrace(called)
    from ream import params
    from ream.workspace.layout import Workspace
    from ream.workspace.options import StageOptions

    settings = Settings()
    root = Path(plan["root"])
    workspace = Workspace(root / "artifacts", root / "reports", root / "models", root / "metrics")
    for name, options in runs:  # what `ream stage` does, but for what changes no result
        stage = importlib.import_module(f"ream.stages.{name}")
        stage.run(params.load_params(Path(plan["params"])), workspace, StageOptions(**options))
    sys.settrace(None)
    return {
        "modules": sorted(name for name in sys.modules if name.partition(".")[0] == "ream"),
        "codes": sorted(codes),
        "checks": sorted(checks),
        "sections": sorted(settings.sections),
        "files": sorted(path for path in files if not path.endswith(".py")),
    }


def in_child(plan, runs):
    """What `recorded` returns, from a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(recorded(plan, runs), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        result = pipe.read()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"stage {runs[0][0]} failed")
    return json.loads(result)


def main():
    """Run the plan."""
    for library in LIBRARIES:
        importlib.import_module(library)
    import torch

    torch.set_num_threads(1)
    assert "ream" not in sys.modules
    plan = json.loads(Path(sys.argv[1]).read_text())
    by_kind = {}
    for name, options in plan["stages"]:
        by_kind.setdefault(name, []).append((name, options))
    print(json.dumps({kind: in_child(plan, runs) for kind, runs in by_kind.items()}))


if __name__ == "__main__":
    main()
