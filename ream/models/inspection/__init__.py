"""What can be known of a model without its weights: sizes, shapes, the manifest that stands for it."""
