"""The mixes that a search tries first: those of the paper, even shares, and single sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ream.analysis.results.rows import ROLES
from ream.params import BuiltinSource
from ream.params.sources import Source
from ream.search.simplex import rounded

PAPER, EVEN, SINGLE = "paper", "even", "single"
ROLES_OF_PAPER = ("general", "math", "code")
# General : math : code of the paper's Table 3, in its order (data/published/mixes.csv has their results).
PAPER_MIXES = (
    (0.3, 0.3, 0.3), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.2, 0.5, 0.3), (0.1, 0.8, 0.1), (0, 0.7, 0.3),
    (0.2, 0.25, 0.55), (0.1, 0.1, 0.8), (0, 0.3, 0.7),
)  # fmt: skip


@dataclass(frozen=True)
class KnownMix:
    """A mix that is tried whatever the sampler says.

    Attributes:
        name: as people write it, 0.3:0.3:0.3 for the paper's.
        origin: PAPER, EVEN or SINGLE.
        ratios: [S] in the order of the sources, in thousandths that sum to 1.
    """

    name: str
    origin: str
    ratios: tuple[float, ...]


def compared_with(origins: Sequence[str]) -> list[int]:
    """Places of the mixes that all others are compared with: the paper's or, of fewer than two, all known ones.

    Args:
        origins: of mixes; of those that are not known, any other name.

    Returns:
        [] where fewer than two are known.
    """
    for wanted in ({PAPER}, {PAPER, EVEN, SINGLE}):
        places = [place for place, origin in enumerate(origins) if origin in wanted]
        if len(places) > 1:
            return places
    return []


def role_of(name: str, source: Source) -> str | None:
    """What a source stands for in the paper's terms: general, math or code; None for any other text."""
    return source.name if isinstance(source, BuiltinSource) else ROLES.get(name)


def known_mixes(sources: Mapping[str, Source]) -> list[KnownMix]:
    """The paper's mixes as far as their sources are there, even shares of all sources, and each source by itself.

    A mix of the paper is known if every kind of text that it draws on is that of one source alone; other sources have
    no share of it. A mix that is there already is left out.

    Args:
        sources: the sources by name, in their order.
    """
    places: dict[str, list[int]] = {}
    for place, (name, source) in enumerate(sources.items()):
        if (role := role_of(name, source)) is not None:
            places.setdefault(role, []).append(place)
    mixes: list[KnownMix] = []
    for shares in PAPER_MIXES:
        ratios = [0.0] * len(sources)
        of_roles = [(places.get(role, []), share) for role, share in zip(ROLES_OF_PAPER, shares, strict=True) if share]
        if all(len(own) == 1 for own, _ in of_roles):
            for (place,), share in of_roles:
                ratios[place] = share
            mixes.append(KnownMix(":".join(f"{share:g}" for share in shares), PAPER, rounded(ratios)))
    mixes.append(KnownMix("even", EVEN, rounded([1.0] * len(sources))))
    for place, name in enumerate(sources):
        alone = tuple(float(other == place) for other in range(len(sources)))
        mixes.append(KnownMix(f"{name} alone", SINGLE, alone))
    first = {mix.ratios: mix for mix in reversed(mixes)}
    return [mix for mix in mixes if first[mix.ratios] is mix]
