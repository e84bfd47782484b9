"""params.yaml as one frozen tree: every setting has its type, its range and its only default here.

Each module holds the sections of one subject; `tree` puts them together, and `reading` makes the tree from a file. The
rest of ream imports from here.
"""

from ream.core.composition import AlignmentTerm, GroupingKind, SaliencyKind, SimilarityKind
from ream.params.methods import Grouping, Method
from ream.params.model import Compute
from ream.params.reading import load_params, parse_params
from ream.params.refit import Refit
from ream.params.report import TAKEN, Import
from ream.params.sources import (
    BuiltinSource,
    Calibration,
    FilesSource,
    HubSource,
    TokensSource,
    check_mix,
    normalised,
)
from ream.params.suites import Evaluation, Suite
from ream.params.tree import Params

__all__ = [
    "TAKEN",
    "AlignmentTerm",
    "BuiltinSource",
    "Calibration",
    "Compute",
    "Evaluation",
    "FilesSource",
    "Grouping",
    "GroupingKind",
    "HubSource",
    "Import",
    "Method",
    "Params",
    "Refit",
    "SaliencyKind",
    "SimilarityKind",
    "Suite",
    "TokensSource",
    "check_mix",
    "load_params",
    "normalised",
    "parse_params",
]
