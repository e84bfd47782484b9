"""The models: families as data, checkpoints on disk, quantised formats, one decoder layer at a time."""
