"""Where each kind of stage starts, and what of the settings counts for it.

`ream stage` checks the whole params file, but a stage reads few sections of it. The code of the others decides nothing
but whether the file is refused, and would make every stage depend on all of `ream.params`. The rest of what it does
around a stage (options, records, locks, names of artifacts) changes no result and is no reason to run one again.
"""

from ream.code.code import Cut

# `ream stage` reads the settings and imports the stage's module by its name, the one dynamic import of ream. The stage
# gets options and, under torchrun, the ranks; their methods run without being named, so these classes are roots, too.
AROUND = ("ream.params.reading:load_params", "ream.workspace.options:StageOptions")
RANKS = "ream.walk.ranks:Ranks"
FURTHER = {
    "statistics": (RANKS,),
    "sequential": (RANKS,),
    # data/tasks/*.yaml, outside of the package, name the functions that score the demo tasks.
    "evaluate": ("ream.evaluation.demo_scoring",),
    "search": ("ream.evaluation.demo_scoring", "ream.search.helpers:main"),  # a helper is a process of its own
}

PARAMS = "ream.params.tree:Params"
# Sections of the settings to the classes that their fields in PARAMS name.
SECTIONS = {
    "model": ("ream.params.model:Model",),
    "local": (),
    "compute": ("ream.params.model:Compute",),
    "calibration": ("ream.params.sources:Calibration",),
    "sources": ("ream.params.sources:Source",),
    "statistics": ("ream.params.methods:Statistics",),
    "mixes": (),
    "grouping": ("ream.params.methods:Grouping",),
    "methods": ("ream.params.methods:Method",),
    "suites": ("ream.params.suites:Suite",),
    "evaluation": ("ream.params.suites:Evaluation",),
    "run": ("ream.params.run:Run",),
    "rank": ("ream.params.suites:Rank",),
    "search": ("ream.params.search:Search",),
    "report": ("ream.params.report:Report",),
    "merge": ("ream.params.model:Merge",),
    "exports": ("ream.params.run:Export",),
    "imports": ("ream.params.report:Import",),
}
# The sections that each kind of stage reads.
READ = {
    "watch": {"local"},
    "inputs": {"model", "local", "sources", "run", "suites", "evaluation", "report", "imports"},
    "check": {"model", "calibration", "statistics", "mixes", "grouping", "methods", "run", "suites", "evaluation"},
    "model": {"model"},
    "calibration": {"model", "calibration", "sources", "rank"},
    "statistics": {"model", "compute", "calibration", "statistics"},
    "mixture": {"calibration", "mixes"},
    "saliency": {"mixes"},
    "grouping": {"calibration", "mixes", "grouping", "methods"},
    "alignment": {"model", "compute", "statistics", "mixes", "methods"},
    "sequential": {"model", "compute", "calibration", "statistics", "mixes", "grouping", "methods"},
    "items": {"model", "sources", "suites", "evaluation"},
    "evaluate": {"model", "compute", "suites", "evaluation", "merge"},
    "rank": {"model", "compute", "run", "rank"},
    "fidelity": {"model", "compute", "run", "rank", "exports"},
    "search": {
        "model",
        "compute",
        "calibration",
        "sources",
        "statistics",
        "mixes",
        "grouping",
        "methods",
        "suites",
        "evaluation",
        "run",
        "rank",
        "search",
        "merge",
    },
    "merge": {"model", "merge", "exports"},
    "metrics": {"run"},
    "report": {
        "model",
        "calibration",
        "sources",
        "mixes",
        "suites",
        "evaluation",
        "run",
        "report",
        "imports",
        "merge",
    },
}
WORDING = ("ream.params.reading:parse_params", "ream.params.reading:_first")  # of an error; names all sections
# A params file that DVC reads is whole, and one that extends another is refused there (`refuse_overlay`).
OVERLAYS = tuple(("ream.params.reading:read_tree", f"ream.params.overlay:{unit}") for unit in ("layers", "merged"))
# The file of the task LiveCodeBench, whose folder PINNED names, names functions for lm-eval, which evaluate alone runs.
PINNED = "ream.evaluation.pinned:PINNED"
LIVECODEBENCH = ("problems:load", "prompt:text", "scoring:execute", "scoring:pass_at_1")
FOR_LM_EVAL = tuple((PINNED, f"ream.evaluation.livecodebench.{unit}") for unit in LIVECODEBENCH)
# A recipe that was made with other settings is refused, and these settings decide nothing else in these stages.
COMPARING = (("ream.workspace.recipes:read_recipe", "ream.workspace.original:asked_facts"),)
CUTS: dict[str, tuple[Cut, ...]] = {
    "inputs": FOR_LM_EVAL,
    "check": FOR_LM_EVAL,
    "items": FOR_LM_EVAL,
    "report": FOR_LM_EVAL,
    "metrics": FOR_LM_EVAL,
    "alignment": (("ream.stages.alignment:_Aligner", "ream.workspace.layout:Workspace"),),  # names of artifacts
    "search": (("ream.search.helpers:main", "ream.workspace.layout:Workspace"),),  # names of artifacts
    # which other models are walked along decides nothing of a model's own scores
    "evaluate": (*COMPARING, ("ream.stages.evaluate:run", "ream.workspace.side_by_side:companions")),
    "rank": COMPARING,
    "fidelity": COMPARING,
    "merge": COMPARING,
}


def roots_of(stage: str) -> tuple[str, ...]:
    """The roots of a kind of stage for `ream.code.code.Code.fingerprint`."""
    return (f"ream.stages.{stage}:run", *AROUND, *FURTHER.get(stage, ()))


def cuts_of(stage: str) -> tuple[Cut, ...]:
    """What `ream.code.code.Code.fingerprint` does not follow for a kind of stage."""
    sections = [(PARAMS, unit) for section in SECTIONS if section not in READ[stage] for unit in SECTIONS[section]]
    return (WORDING, *OVERLAYS, *sections, *CUTS.get(stage, ()))
