"""What each figure shows, by its name."""

import re

# The first sentence is a figure's title.
CAPTIONS = {
    "figure-1a": "Group sizes. Experts in the largest group, the second largest and so on: a line a method, the mean "
    "over the layers; the band reaches from the smallest to the largest of the layers. Methods that only drop experts "
    "lie at 1.",
    "figure-2": "MC against GEN of every calibration mix. A marker a mix, its area growing with the share of code; the "
    "star is the original, thin lines are 95% intervals. Up and to the right is better.",
    "figure-3a": "Correlations over the mixes. Pearson's r of each source's share with MC and GEN, and of MC with GEN, "
    "for each method, with its 95% interval: where the bar crosses zero, nothing can be told.",
    "figure-3b": "Pareto fronts of the mixes. Mixes of a method that no other mix of it matches or beats on both MC "
    "and GEN; HV is the area that the front dominates, and after it stands how many of the mixes are on the "
    "front.",
    "figure-4a": "What each part of REAM is worth. Variants that leave one part out, less REAM with the same mix, in "
    "points: left of zero, the part helps. A marker a mix, a bar their mean, black its 95% interval.",
    "figure-5": "Rank of the hidden states before the head against the scores. A marker a model, the star the "
    "original; the dashed line is the least-squares line of the compressed models, above it r and its 95% interval.",
    "figure-5-effective": "Effective rank of the hidden states before the head against the scores. The exponential of "
    "the singular values' entropy, which needs no tolerance and tells models apart whose numerical rank is full; the "
    "rest as in Figure 5.",
    "held-out-loss": "Held-out loss, MC and GEN against parameters. A column a calibration mix, a line a method, from "
    "the original on.",
    "overview": "Scores against total parameters. A colour a method, a marker a model, a line from the original, in "
    "black, through a method's sizes, each with its mix of highest GEN; ours are filled, others hollow.",
}
# The same figures at the second size.
SAME = {"figure-6": "figure-2", "figure-7a": "figure-3a", "figure-7b": "figure-3b"}


def caption(name: str) -> str:
    """The caption of a figure by its name, as `names_of_mixes` gives it: those of further sizes end in -K.

    Raises:
        ValueError: no figure has that name.
    """
    base = re.sub(r"-\d+$", "", name) if name not in CAPTIONS and name not in SAME else name
    base = SAME.get(base, base)
    if base not in CAPTIONS:
        raise ValueError(f"there is no caption for '{name}'; captions are known for {', '.join((*CAPTIONS, *SAME))}")
    return CAPTIONS[base]


def title(name: str) -> str:
    """What a figure or table is called in headings: "Figure 3a", "Figure 2, 8 experts", "Fronts, 24 experts"."""
    found = re.fullmatch(r"(?:(figure|table)-)?(\d+[a-z]?|[^\d].*?)(?:-(\d+))?", name)
    if found is None:
        return name
    kind, what, experts = found.groups()
    words = f"{kind} {what}" if kind and what[0].isdigit() else what.replace("-", " ")
    return words[:1].upper() + words[1:] + (f", {experts} experts" if experts else "")
