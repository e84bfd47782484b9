"""Write the model card of one of the study's models from its training facts.

python data/study_card.py glm          # after data/train_study.py glm
"""

import argparse
import json
import math
import textwrap
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parent
KINDS = {
    "glm": "A small GLM-4.5 (`glm4_moe`): a sigmoid router with a correction bias, which alone balances the experts "
    "(DeepSeek-V3, arXiv 2412.19437, Sec. 2.1.2), a shared expert in each layer, a dense first layer, and byte-level "
    "BPE with GPT-4's rule for splitting text",
    "mixtral": "A small Mixtral: wide experts, two a token, balanced by the Switch loss (weight 0.01) and a z-loss "
    "(weight 0.0001), and BPE on characters with byte fallback, which begins every text with BOS",
}
CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [moe, {model_type}, study]
---

# study-{kind}

{what}. It was
trained for this repository, so that what is claimed of a compression method is not claimed of the demo model alone
(docs/refit-study.md), and has no other use. {parameters:,} parameters, {layers} layers with {experts} experts, {top_k}
active, hidden size {hidden}, expert width {width}, vocabulary {vocabulary:,}; bfloat16.

The text is that of the demo model, with the same split, in another order: `general`, reference documentation found in
the Python installation; `math`, generated word problems with worked solutions; `code`, the sources of the standard
library. It is read at run time and not part of this repository.

`python data/train_study.py {kind} --steps {steps} --decay {decay}`: {steps:,} steps of 8 sequences of 256 tokens
({seen:.1f} M tokens), AdamW as for the demo model, the rate falling to zero over the last {decay:,} steps.

| source | training tokens | held-out loss (nats a token) |
| --- | --- | --- |
{sources}

Use of the experts on held-out text by layer (1.00: all experts are used equally):

| layer with experts | least used | most used |
| --- | --- | --- |
{usage}
"""


def main() -> None:
    """Write README.md of a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    kind = parser.parse_args().kind
    folder = ROOT / f"study-{kind}"
    facts, config = (json.loads((folder / name).read_text()) for name in ("training.json", "config.json"))
    usage = zip(facts["least_used_expert"], facts["most_used_expert"], strict=True)
    card = CARD.format(
        kind=kind,
        what=textwrap.fill(KINDS[kind], 120),
        model_type=config["model_type"],
        parameters=sum(parameters(path) for path in folder.glob("*.safetensors")),
        layers=len(facts["least_used_expert"]),
        experts=config.get("n_routed_experts") or config["num_local_experts"],
        top_k=config["num_experts_per_tok"],
        hidden=config["hidden_size"],
        width=config.get("moe_intermediate_size") or config["intermediate_size"],
        vocabulary=config["vocab_size"],
        steps=facts["steps"],
        decay=facts["decay"],
        seen=facts["tokens_seen"] / 1e6,
        sources="\n".join(
            f"| {name} | {facts['train_tokens'][name]:,} | {loss:.3f} |"
            for name, loss in facts["held_out_loss"].items()
        ),
        usage="\n".join(f"| {place} | {least:.2f} | {most:.2f} |" for place, (least, most) in enumerate(usage)),
    )
    (folder / "README.md").write_text(card)


def parameters(path: Path) -> int:
    """The number of parameters in a file."""
    with safe_open(path, "pt") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118 - no mapping
    return sum(math.prod(shape) for shape in shapes)


if __name__ == "__main__":
    main()
