"""Tokens through the layers, one layer in memory at a time: micro-batches, state, transfers, ranks."""
