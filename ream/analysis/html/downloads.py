"""Files inside the page: data addresses, and names that are safe to save under."""

import base64
import re

TYPES = {"csv": "text/csv", "md": "text/markdown", "tex": "application/x-tex", "svg": "image/svg+xml",
         "png": "image/png"}  # fmt: skip


def data_address(suffix: str, content: str | bytes) -> str:
    """A data: address that holds a file.

    Args:
        suffix: the file's suffix, a key of TYPES.
        content: the file's content.
    """
    raw = content.encode() if isinstance(content, str) else content
    charset = ";charset=utf-8" if isinstance(content, str) and suffix != "svg" else ""
    return f"data:{TYPES[suffix]}{charset};base64,{base64.b64encode(raw).decode()}"


def identifier(name: str) -> str:
    """A name as an id in the page and as the name of a file: letters, digits and hyphens only."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-") or "unnamed"
