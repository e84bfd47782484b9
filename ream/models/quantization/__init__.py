"""Quantised checkpoints: a logical tensor, one matrix of the model, lies on disk as several stored tensors.

``config.format_of`` reads the format off config.json; ``tensors`` finds, reads and writes logical tensors; each format
is a module: ``fp8_block``, ``pack_quantized``, ``mxfp4``.
"""
