"""ream: smaller Mixture-of-Experts language models by merging their experts, without training."""

__version__ = "0.1.0"
