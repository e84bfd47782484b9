"""Captions of the figures, by their names."""

import re

# The first sentence is a figure's title.
CAPTIONS = {
    "figure-1a": "Group sizes. Experts in the largest group, the second largest and so on: one line per method, the "
    "mean over the layers; the band reaches from the smallest to the largest of the layers. Methods that only drop "
    "experts lie at 1.",
    "figure-2": "MC against GEN of every calibration mix. One marker per mix, whose area grows with the share of the "
    "source named in the legend; the star is the original, thin lines are 95% intervals. Up and to the right is "
    "better.",
    "figure-3a": "Correlations over the mixes. Pearson's r of each source's share with MC and GEN, and of MC with GEN, "
    "for each method, with its 95% interval; where the interval contains zero, the direction is unclear.",
    "figure-3b": "Pareto fronts of the mixes. A method's mix is on the front if no other of its mixes matches or beats "
    "it on both MC and GEN and beats it on one; HV is the area that the front dominates, followed by the number of "
    "mixes on the front and of all mixes.",
    "figure-4a": "What each part of REAM is worth. Variants that leave one part out, minus REAM with the same mix, in "
    "percentage points: left of zero, the part helps. One marker per mix, a bar for their mean, and in black its 95% "
    "interval.",
    "figure-5": "Rank of the hidden states before the head against the scores. One marker per model, a star for the "
    "original; the dashed line is the least-squares line of the compressed models, with r and its 95% interval above.",
    "figure-5-effective": "Effective rank of the hidden states before the head against the scores. The exponential of "
    "the entropy of the singular values, which needs no tolerance and tells models apart whose numerical rank is full; "
    "otherwise as in Figure 5.",
    "held-out-loss": "Held-out loss, MC and GEN against parameters. One column per calibration mix, one line per "
    "method, starting at the original.",
    "quality-against-size": "Quality against size. A line per method from the original through its best mix at each "
    "size; rings: the chosen models; thin bars: 95% intervals.",
    "overview": "Scores against total parameters. One colour and marker per method (with several originals, one marker "
    "per original); lines run from the "
    "original, in black, through a method's sizes, each with its mix of highest GEN; ours are filled, others hollow.",
}
# The same figures at the second size.
SAME = {"figure-6": "figure-2", "figure-7a": "figure-3a", "figure-7b": "figure-3b"}


def caption(name: str) -> str:
    """The caption of a figure by its name; names of further sizes end in -K, as `names_of_mixes` gives them.

    Raises:
        ValueError: no figure has that name.
    """
    base = re.sub(r"-\d+$", "", name) if name not in CAPTIONS and name not in SAME else name
    base = SAME.get(base, base)
    if base not in CAPTIONS:
        raise ValueError(f"there is no caption for '{name}'; captions are known for {', '.join((*CAPTIONS, *SAME))}")
    return CAPTIONS[base]


def title(name: str) -> str:
    """The heading of a figure or table by its name: "Figure 3a", "Figure 2, 8 experts", "Fronts, 24 experts"."""
    parts = re.fullmatch(r"(?:(figure|table)-)?(\d+[a-z]?|[^\d].*?)(?:-(\d+))?", name)
    if parts is None:
        return name
    kind, what, experts = parts.groups()
    words = f"{kind} {what}" if kind and what[0].isdigit() else what.replace("-", " ")
    return words[:1].upper() + words[1:] + (f", {experts} experts" if experts else "")
