"""Decisions about each layer: what is measured, which experts are kept, how they are merged and refitted."""
