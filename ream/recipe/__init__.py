"""The recipe: its file, and the one function by which it becomes tensors, a checkpoint, or a model in memory."""
