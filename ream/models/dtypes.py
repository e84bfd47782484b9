"""torch's data types by their names in safetensors headers."""

import torch

from ream.models.stored import STORED

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, kind.torch) for name, kind in STORED.items()}
