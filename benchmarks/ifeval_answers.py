"""Texts that follow IFEval's instructions, made of filler words, for `benchmarks/real_rows.py`.

A text is put together from parts, one for each instruction of a prompt; what `answer` returns has been accepted by
lm-eval's own checker. Instructions that exclude each other, ask for other languages, or forbid the filler words have
none.
"""

import json
from typing import Any

from ream.evaluation.lm_eval_state import seed_language_detection

SENTENCE = "This is a line of plain words about the old house by the river."
WORDS = SENTENCE.lower().rstrip(".").split()


def answer(row: dict[str, Any]) -> str | None:
    """A text that follows all instructions of a prompt; None where none was found.

    Args:
        row: of google/IFEval: prompt, instruction_id_list and kwargs.
    """
    from lm_eval.tasks.ifeval import utils

    seed_language_detection(0)
    asked = {name: {key: value for key, value in given.items() if value is not None}
             for name, given in zip(row["instruction_id_list"], row["kwargs"], strict=True)}  # fmt: skip
    text = _written(asked)
    known = utils.InputExample(row["key"], row["instruction_id_list"], row["prompt"], row["kwargs"])
    return text if utils.test_instruction_following_strict(known, text).follow_all_instructions else None


def _written(asked: dict[str, dict[str, Any]]) -> str:
    """The parts that the instructions want, in an order in which most of them fit together."""
    if "detectable_format:constrained_response" in asked:
        return "My answer is yes."
    text = _cased(_body(asked), asked)
    if "detectable_format:json_format" in asked:
        text = json.dumps({"text": text})
    if "combination:two_responses" in asked:
        text = f"{text}\n******\n{text} {_cased('So it was.', asked)}"
    if (given := asked.get("combination:repeat_prompt")) is not None:
        text = f"{given['prompt_to_repeat']}\n{text}"
    if (given := asked.get("detectable_content:postscript")) is not None:
        text += f"\n{given['postscript_marker']} {_cased('so it was', asked)}"
    if (given := asked.get("startend:end_checker")) is not None:
        text += f"\n{given['end_phrase']}"
    return f'"{text}"' if "startend:quotation" in asked else text


def _cased(text: str, asked: dict[str, dict[str, Any]]) -> str:
    if "change_case:english_capital" in asked:
        return text.upper()
    return text.lower() if "change_case:english_lowercase" in asked else text


def _body(asked: dict[str, dict[str, Any]]) -> str:
    """What the middle of a text consists of: its form, then what it has to contain, then its length."""
    lines = []
    if "detectable_format:title" in asked:
        lines.append("<<The house>>")
    lines += _extras(asked)
    if (given := asked.get("detectable_format:number_bullet_lists")) is not None:
        lines += [f"* point {number}" for number in range(given["num_bullets"])]
    if (given := asked.get("detectable_format:multiple_sections")) is not None:
        lines += [f"{given['section_spliter']} {number + 1}\n{SENTENCE}" for number in range(given["num_sections"])]
    lines += _length(asked, " ".join(lines)) or ([] if lines else [SENTENCE])
    text = "\n".join(lines)
    if (given := asked.get("length_constraints:number_paragraphs")) is not None:
        text = "\n***\n".join([text, *[SENTENCE] * (given["num_paragraphs"] - 1)])
    if (given := asked.get("length_constraints:nth_paragraph_first_word")) is not None:
        paragraphs = [SENTENCE] * given["num_paragraphs"]
        paragraphs[given["nth_paragraph"] - 1] = f"{given['first_word']} {SENTENCE}"
        text = "\n\n".join([*paragraphs[:-1], f"{paragraphs[-1]} {text}"])
    return text


def _extras(asked: dict[str, dict[str, Any]]) -> list[str]:
    """Keywords, letters, capitals, placeholders and highlighted parts."""
    extras = []
    if (given := asked.get("keywords:existence")) is not None:
        extras.append(" ".join(given["keywords"]))
    for name, what, how_often, least in (
        ("keywords:frequency", "keyword", "frequency", "relation"),
        ("keywords:letter_frequency", "letter", "let_frequency", "let_relation"),
    ):
        given = asked.get(name)
        if given is not None and given[least] == "at least":
            extras.append(" ".join([given[what]] * given[how_often]))
    given = asked.get("change_case:capital_word_frequency")
    if given is not None and given["capital_relation"] == "at least":
        extras.append(" ".join(["HOUSE"] * given["capital_frequency"]))
    if (given := asked.get("detectable_content:number_placeholders")) is not None:
        extras.append(" ".join(f"[place {number}]" for number in range(given["num_placeholders"])))
    if (given := asked.get("detectable_format:number_highlighted_sections")) is not None:
        extras.append("\n".join(f"*part {number}*" for number in range(given["num_highlights"])))
    return extras


def _length(asked: dict[str, dict[str, Any]], so_far: str) -> list[str]:
    """Filler for a least number of sentences and words."""
    filler = []
    given = asked.get("length_constraints:number_sentences")
    if given is not None and given["relation"] == "at least":
        filler += [SENTENCE] * given["num_sentences"]
    given = asked.get("length_constraints:number_words")
    if given is not None and given["relation"] == "at least":
        missing = given["num_words"] - len(so_far.split()) - sum(len(line.split()) for line in filler)
        filler.append(" ".join(WORDS[number % len(WORDS)] for number in range(max(missing, 0) + 20)))
    return filler
