"""The methods that tables and figures know: their order, which are ablations, which are beyond the paper."""

from collections.abc import Iterable, Mapping

from ream.analysis.results.rows import ORIGINAL

# The methods of the paper, then those beyond it: a least-squares refit or fit after the merge (docs/refit.md).
BEYOND = ("ean-refit", "reap-refit", "ream-refit", "neurons-refit", "neurons-fit")
METHODS = (ORIGINAL, "frequency", "ean", "reap", "m-smoe", "hc-smoe", "ream", "ream-released", *BEYOND)

# A whole method and what it is without one of its parts (docs/method.md; Table 4 and Fig. 4a). No rule about names:
# ream-released and ream-refit begin as these do and leave nothing out.
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    "ream": (
        "ream-frequency", "ream-ungated", "ream-no-gate-logits", "ream-nearest-centroid", "ream-activations-only",
        "ream-one-shot",
    ),
}  # fmt: skip


def is_variant(method: str, whole: str = "ream") -> bool:
    """Whether a method is an ablation of the whole one."""
    return method in ABLATIONS.get(whole, ())


def method_place(method: str) -> tuple[int, str]:
    """Order of methods: the paper's, those beyond it, then others by name."""
    return (METHODS.index(method), "") if method in METHODS else (len(METHODS), method)


def beyond_paper(methods: Iterable[str]) -> str:
    """What a caption says about methods that the paper does not have; empty where there are none."""
    found = sorted({method for method in methods if method in BEYOND}, key=method_place)
    if not found:
        return ""
    return f"; not in the paper: {', '.join(found)} ({'a method' if len(found) == 1 else 'methods'} with a refit)"
