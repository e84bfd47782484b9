"""The stages of dvc.yaml, one module or package each, with one function ``run`` each.

Every ``run`` takes all settings, the workspace and the `StageOptions`, reads artifacts, calls the method, writes
artifacts, and returns one line that says what it did. DVC calls the stages through `ream stage`; `ream compress` calls
them one after the other.
"""
