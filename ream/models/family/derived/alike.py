"""Whether the experts of all layers are alike, in a weightless model with all its layers."""

from typing import Any

from torch import nn

from ream.models.family.derived.place import EXPERTS
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.derived.weightless import expert_modules


def check_alike(text: nn.Module) -> tuple[int, ...]:
    """Refuse layers whose experts differ in number, in shape or in what they compute.

    Args:
        text: the text model with all layers.

    Returns:
        The indices of the layers that have experts.

    Raises:
        NotDerivableError: names the layers and what differs.
    """
    modules = expert_modules(text)
    first, *others = modules
    expected = _described(modules[first])
    for path in others:
        found = _described(modules[path])
        for what, value in expected.items():
            if found.get(what) != value:
                raise NotDerivableError(
                    f"the experts of {path} differ from those of {first}: {what} is {found.get(what)}, not {value}"
                )
    places = [EXPERTS.fullmatch(path) for path in modules]
    return tuple(int(place["layer"]) for place in places if place is not None)


def _described(module: Any) -> dict[str, Any]:
    """The class, the shapes and the numbers of an experts module."""
    facts: dict[str, Any] = {"class": type(module).__name__}
    facts |= {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
    numbers = (int, float, str, type(None))
    own = vars(module).items()
    return facts | {
        name: value
        for name, value in own
        if not name.startswith("_") and isinstance(value, numbers) and "layer" not in name
    }


def check_own_keys(config: Any) -> None:
    """Refuse layers that use the attention keys and values of earlier layers, because walks run one layer at a time.

    Args:
        config: of the text model.

    Raises:
        NotDerivableError: says how many layers do.
    """
    sharing = getattr(config, "num_kv_shared_layers", 0)
    if sharing:
        raise NotDerivableError(
            f"its last {sharing} layers use the keys and values of layers before them (num_kv_shared_layers), and the "
            "walk over the layers runs one at a time"
        )
