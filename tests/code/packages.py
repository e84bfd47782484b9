"""Small packages of source files, and their fingerprints."""

from textwrap import dedent

from ream.code.code import Code


def write(folder, files):
    """Write a package ``p`` from paths in it to their text, and return its folder."""
    package = folder / "p"
    for path, text in ({"__init__.py": ""} | files).items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(dedent(text))
    return package


def fingerprint(folder, files, *roots):
    """The fingerprint of such a package; its roots are ``p.main:run`` if none are given."""
    return Code(write(folder, files)).fingerprint(roots or ("p.main:run",))
