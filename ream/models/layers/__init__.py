"""Decoder layers of transformers, one at a time: without weights, with them, and what the model gives each."""
