"""Deriving a family's entry from a checkpoint's config.json, its header and transformers' model without weights."""
