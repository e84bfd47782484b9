"""llama.cpp's converter for tokenizers that it does not know, as the demo's and the tiny models' are.

The converter recognises a pre-tokenizer by a hash of the ids that a text gets, so it knows published vocabularies only.
Here every model's vocabulary is written as byte-pair encoding with a pre-tokenizer that is given; all else is the
converter's own work. Called as: python convert.py PRE_TOKENIZER SCRIPT [the script's own arguments].
"""

import runpy
import sys
from pathlib import Path


def convert(pre_tokenizer: str, script: str, *arguments: str) -> None:
    """Run the converter's script in this process.

    Args:
        pre_tokenizer: llama.cpp's name of it.
        script: path of convert_hf_to_gguf.py.
        arguments: the script's own.
    """
    sys.path[:0] = [str(Path(script).parent), str(Path(script).parent / "gguf-py")]
    import conversion

    class_of, with_byte_pairs = conversion.get_model_class, conversion.TextModel._set_vocab_gpt2

    def class_with_byte_pairs(*given, **named):
        model_class = class_of(*given, **named)
        model_class.set_vocab = with_byte_pairs
        return model_class

    conversion.TextModel.get_vocab_base_pre = lambda model, tokenizer: pre_tokenizer
    conversion.get_model_class, before = class_with_byte_pairs, sys.argv
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        conversion.get_model_class, sys.argv = class_of, before


if __name__ == "__main__":
    convert(*sys.argv[1:])
