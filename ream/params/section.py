"""What all sections of params.yaml have in common: frozen, no unknown keys, one form of names."""

import re

from pydantic import BaseModel, ConfigDict

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Section(BaseModel):
    """A frozen section of params.yaml that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
