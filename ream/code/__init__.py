"""Which code of ream a stage can execute, and one fingerprint of what that code means.

- `scopes`: which names a piece of code takes from outside
- `reader`: the canonical text of a syntax tree, with the names that it takes from outside
- `statements`: which statements of a module run when it is imported
- `modules`: a module as units, its top-level definitions
- `data_files`: files of the package that are not imported but read
- `code`: from the units where a stage starts to all that it reaches, and their fingerprint
- `libraries`: versions of the libraries that numbers depend on
- `kinds`: where each kind of stage starts

Nothing is imported or executed: all is read from the sources.
"""
