"""What answers for a model: transformers, vLLM, a walk through its layers, or a server. All have one interface."""
