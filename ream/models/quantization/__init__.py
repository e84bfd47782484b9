"""Quantised checkpoints: a logical tensor, one matrix of the model, lies on disk as several stored tensors.

``config.format_of`` reads the format from config.json. ``names`` says what a logical tensor is stored as, ``tensors``
reads and writes its values. Each format is a module: ``fp8_block``, ``pack_quantized``, ``mxfp4``; ``methods`` lists
them.
"""
