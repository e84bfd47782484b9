"""One thin module for each stage of dvc.yaml: read artifacts, call the method, write artifacts.

Every stage is a function of the parameters and a Workspace; it returns a line that says what it did. DVC calls them
through `ream stage`, `ream compress` calls them one after the other.
"""
