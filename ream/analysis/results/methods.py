"""The methods that tables and figures know: their order, which are ablations, which are beyond the paper."""

from collections.abc import Iterable, Mapping, Sequence

from ream.analysis.results.rows import ORIGINAL, Row

# The methods of the paper, then those beyond it: a least-squares refit or fit after the merge (docs/refit.md).
BEYOND = ("ean-refit", "reap-refit", "ream-refit", "neurons-refit", "neurons-fit", "best", "best-fit")
METHODS = (ORIGINAL, "frequency", "ean", "reap", "m-smoe", "hc-smoe", "ream", "ream-released", *BEYOND)

# A whole method and its variants that lack one part (docs/method.md; Table 4 and Fig. 4a). This is a list, not a rule
# about names: the names of ream-released and ream-refit begin like these, but those methods leave nothing out.
WHOLE = "ream"
ABLATIONS: Mapping[str, tuple[str, ...]] = {
    WHOLE: (
        "ream-frequency", "ream-ungated", "ream-no-gate-logits", "ream-nearest-centroid", "ream-activations-only",
        "ream-one-shot",
    ),
}  # fmt: skip


def is_variant(method: str, whole: str = WHOLE) -> bool:
    """Whether a method is an ablation of the whole one."""
    return method in ABLATIONS.get(whole, ())


def without_ablations(rows: Sequence[Row]) -> list[Row]:
    """The rows of whole methods."""
    return [row for row in rows if not is_variant(row.method)]


def method_place(method: str) -> tuple[int, str]:
    """Sort key of methods: the paper's first, then those beyond it, then others by name."""
    return (METHODS.index(method), "") if method in METHODS else (len(METHODS), method)


def beyond_paper(methods: Iterable[str]) -> str:
    """The part of a caption that names methods which the paper does not have; empty where there are none."""
    beyond = sorted({method for method in methods if method in BEYOND}, key=method_place)
    if not beyond:
        return ""
    return f"; not in the paper: {', '.join(beyond)} ({'a method' if len(beyond) == 1 else 'methods'} with a refit)"
