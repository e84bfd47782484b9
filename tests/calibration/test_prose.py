from ream.calibration.prose import long_sentences, prose, prose_of_file

SENTENCE = "Get the parameters of this estimator and of its parts, if there are any."
TABLE = "=====  =====  a table whose lines are long enough to be a paragraph."
CALL = ">>> estimator.get_params() returns what the estimator was made with."


def test_prose_is_paragraphs_of_running_text():
    broken = SENTENCE.replace(" of ", "\n    of ")
    assert prose(f"{broken}\n \n{TABLE}\n\n{CALL}\n\nToo short.\n\nx = {'1 + ' * 20}1.") == [SENTENCE]
    assert prose(SENTENCE[:-1]) == []  # no end of a sentence


def test_prose_of_python_is_that_of_its_docstrings():
    docstring = f'"""{SENTENCE}"""'
    source = f'{docstring}\nif x:\n    def f():\n        {docstring}\n    text = """No docstring. {SENTENCE}"""\n'
    assert prose_of_file(source.encode()) == [SENTENCE]  # once
    other = f"{'And ' * 20}so."
    assert prose_of_file(f"{SENTENCE}\n\n{SENTENCE}\n\n{other}".encode()) == [SENTENCE, other]


def test_a_sentence_is_found_in_source_however_its_lines_break():
    source = f'class A:\n    def get(self):\n        """{SENTENCE[:26]}\n        {SENTENCE[27:]}\n        """\n'
    assert long_sentences(SENTENCE) == {SENTENCE.rstrip(".")}
    assert long_sentences(SENTENCE) <= long_sentences(source)
    assert long_sentences("Too short. Far too short.") == set()
