"""Checkpoints on disk and on the hub: reading and writing tensors one at a time."""
