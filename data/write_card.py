"""Write the model card of the demo model from its training facts and the graph's results.

python data/write_card.py          # after data/train_demo.py and dvc repro
"""

import json
import platform
from itertools import product
from pathlib import Path

from ream.evaluation.scores import read_scores
from ream.workspace.layout import Workspace

ROOT = Path(__file__).resolve().parent
CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [moe, qwen3_moe, demo]
---

# The demo model

A small Qwen3-MoE, trained for this repository so that compressing it has a measurable cost: {parameters:,} parameters,
{layers} layers of {experts} experts, {top_k} active, hidden size {hidden}, expert width {width}, byte-level BPE of
{vocabulary} tokens. transformers wrote it in the layout of the Qwen3-MoE checkpoints on the hub (one tensor for
each expert and projection, several shards, bfloat16). It serves to show what compression does and has no other use.

## Data

Equal thirds of three sources (`ream/calibration/builtin.py`), read at run time and not part of this repository:
`general`, reference documentation found in the Python installation; `math`, generated word problems with worked
solutions; `code`, the sources of the standard library. Files are split by hash into train, calibration and held-out;
paragraphs that training files contain are left out of the other two.

| source | training tokens |
| --- | --- |
{tokens}

## Training

`python data/train_demo.py --steps {steps} --decay {decay}`: {steps:,} steps of 8 sequences of 512 tokens
({seen:.1f} M tokens), AdamW at 0.003 with 200 steps of warm-up and a linear fall over the last {decay:,}, float32 on
one or two CPU cores, load balancing by the Switch loss of each layer (weight 0.01) and a z-loss (weight 0.0001).
The run was interrupted and continued from saved states; after step 1,500 the documents came in another order.

| source | held-out loss (nats a token) |
| --- | --- |
{losses}
| mean | {mean:.3f} |

Use of the experts on mixed held-out text by layer (1.00: all experts are used equally):

| layer | least used | most used |
| --- | --- | --- |
{usage}

## What removing experts costs

Held-out loss of the suite `demo`, for models that `dvc repro` compressed with the mix `balanced`:

| | mean loss | increase |
| --- | --- | --- |
| original | {original:.3f} | |
{pruned}

The text comes from Python {python} and the package versions of constraints.txt.
"""


def main() -> None:
    """Write data/demo-model/README.md."""
    facts = json.loads((ROOT / "demo-training.json").read_text())
    config = json.loads((ROOT / "demo-model" / "config.json").read_text())
    workspace = Workspace(ROOT.parent / "artifacts")
    (original,) = read_scores(workspace.original_evaluation).cells
    assert original.mean_loss is not None, "the suite of the graph has no held-out loss"
    rows = []
    for method, experts in product(("frequency", "reap"), (24, 16)):
        (cell,) = read_scores(workspace.evaluation("balanced", method, experts)).cells
        assert cell.mean_loss is not None
        increase = cell.mean_loss - original.mean_loss
        rows.append(f"| {method}, {experts} experts kept | {cell.mean_loss:.3f} | +{increase:.3f} |")
    least, most = facts["least_used_expert"], facts["most_used_expert"]
    losses = facts["held_out_loss"]
    card = CARD.format(
        parameters=original.parameters,
        layers=config["num_hidden_layers"],
        experts=config["num_experts"],
        top_k=config["num_experts_per_tok"],
        hidden=config["hidden_size"],
        width=config["moe_intermediate_size"],
        vocabulary=config["vocab_size"],
        tokens="\n".join(f"| {name} | {count:,} |" for name, count in facts["train_tokens"].items()),
        steps=facts["steps"],
        decay=facts["decay"],
        seen=facts["tokens_seen"] / 1e6,
        losses="\n".join(f"| {name} | {loss:.3f} |" for name, loss in losses.items()),
        mean=sum(losses.values()) / len(losses),
        usage="\n".join(f"| {i} | {a:.2f} | {b:.2f} |" for i, (a, b) in enumerate(zip(least, most, strict=True))),
        original=original.mean_loss,
        pruned="\n".join(rows),
        python=platform.python_version(),
    )
    (ROOT / "demo-model" / "README.md").write_text(card)


if __name__ == "__main__":
    main()
