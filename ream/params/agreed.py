"""A params file that DVC and ream read alike.

DVC puts names of params.yaml into the commands of stages, and a shell runs these. ream checks the names, but it reads
YAML 1.1 with PyYAML and DVC YAML 1.2 with ruamel.yaml, so a file can be written that is harmless to one alone.
"""

from pathlib import Path

from ream.errors import UserError, one_line
from ream.machine.documents import read_text
from ream.params.overlay import refuse_overlay
from ream.params.reading import load_params, parse_params
from ream.params.tree import Params


def agreed_params(path: Path) -> Params:
    """The settings of a params file, which are the same as DVC reads them.

    Raises:
        UserError: see `load_params`; or the file extends another, or DVC cannot read it, or reads other settings.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    refuse_overlay(path)
    params = load_params(path)
    try:
        tree = YAML(typ="safe").load(read_text(path))
    except YAMLError as error:
        raise UserError(f"{path}: DVC cannot read it: {one_line(error)}; correct it") from None
    if parse_params(tree, f"{path}, as DVC reads it") != params:
        other = next(name for name in Params.model_fields if getattr(parse_params(tree), name) != getattr(params, name))
        raise UserError(
            f"{path}: DVC reads section '{other}' as YAML 1.2 and ream as YAML 1.1, with different results; write it "
            "without tags, merges of merges and numbers that begin with 0"
        )
    return params
