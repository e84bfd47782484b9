"""The method itself, pure: tensors and dataclasses in, tensors and dataclasses out.

Equations are numbered as in arXiv 2604.04356. One letter an axis: T tokens, N experts, K kept experts, k experts a
token selects, H hidden size, D expert width, S probes. Decisions over experts are numpy, which is light to import; what
touches weights or activations is torch.
"""
