"""Copies of checkpoints with other tensors or another config."""

import json

from safetensors.torch import load_file, save_file


def with_tensors(source, folder, change):
    """A copy in a single shard, whose dict of tensors ``change`` has worked on."""
    folder.mkdir(parents=True)
    tensors = {}
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            tensors |= load_file(path)
        elif not path.name.endswith(".index.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def set_flag(folder, flag, level):
    """Let tie_word_embeddings stand in config.json at one level alone: None for the top, or a key."""
    config = json.loads((folder / "config.json").read_text())
    for table in (config, config.get("text_config", {})):
        table.pop("tie_word_embeddings", None)
    (config if level is None else config[level])["tie_word_embeddings"] = flag
    (folder / "config.json").write_text(json.dumps(config))
