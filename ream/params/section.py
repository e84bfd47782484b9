"""What all sections of params.yaml share: they are frozen, refuse unknown keys, and have one rule for names."""

import re

from pydantic import BaseModel, ConfigDict

# Names become names of files.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Section(BaseModel):
    """A frozen section of params.yaml that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
