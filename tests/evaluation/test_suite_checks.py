"""What a suite lacks is told before anything is loaded."""

import subprocess
import sys
from pathlib import Path

import lm_eval.tasks
import pytest
import yaml

from ream import params
from ream.errors import UserError
from ream.evaluation import suite_checks, task_files
from ream.evaluation.pinned import PINNED
from ream.evaluation.suite_checks import OFFLINE, check_generation, check_suite
from ream.models.family.limits import Limits


@pytest.fixture
def online(monkeypatch):
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)


def settings(**changes):
    return params.Evaluation(suite="s", **changes)


@pytest.mark.usefixtures("online")
def test_packages_that_a_task_imports(monkeypatch):
    installed = {"nltk"}
    monkeypatch.setattr("nltk.data.find", lambda name: name)
    monkeypatch.setattr(suite_checks, "find_spec", lambda name: name if name in installed else None)
    suite = params.Suite(gen=["ifeval"])
    line = r"^task 'ifeval' needs the package langdetect and immutabledict; pip install langdetect immutabledict$"
    with pytest.raises(UserError, match=line):
        check_suite(suite, settings())
    installed |= {"langdetect", "immutabledict"}
    check_suite(suite, settings())


@pytest.mark.usefixtures("online")
def test_a_tokenizer_of_nltk_that_is_not_there(monkeypatch):
    def find(name):
        raise LookupError(name)

    monkeypatch.setattr(suite_checks, "find_spec", lambda name: name)
    monkeypatch.setattr("nltk.data.find", find)
    line = r"^task 'ifeval' needs NLTK's tokenizer punkt_tab, .*; python -m nltk\.downloader punkt_tab$"
    with pytest.raises(UserError, match=line):
        check_suite(params.Suite(gen=["ifeval"]), settings())
    monkeypatch.setattr("nltk.data.find", {"tokenizers/punkt_tab": "here"}.__getitem__)
    check_suite(params.Suite(gen=["ifeval"]), settings())


@pytest.mark.parametrize("variable", OFFLINE)
@pytest.mark.usefixtures("online")
def test_data_that_may_not_be_fetched(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    suite = params.Suite(mc=["winogrande"], gen=["gsm8k"])
    check_suite(suite, settings())
    monkeypatch.setenv(variable, "1")
    line = (
        rf"^task 'winogrande': its data set allenai/winogrande is not in the cache, and {variable} forbids to fetch it"
    )
    with pytest.raises(UserError, match=line):
        check_suite(suite, settings())
    (tmp_path / "hf" / "hub" / "datasets--allenai--winogrande").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^task 'gsm8k': its data set openai/gsm8k"):
        check_suite(suite, settings())
    (tmp_path / "hf" / "datasets" / "openai___gsm8k").mkdir(parents=True)
    check_suite(suite, settings())
    monkeypatch.setenv(variable, "0")
    check_suite(params.Suite(mc=["mmlu"]), settings())


def test_a_task_file_of_the_users_takes_the_place_of_a_pinned_task(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    suite = params.Suite(gen=["gsm8k"])
    with pytest.raises(UserError, match="gsm8k"):
        check_suite(suite, settings())
    (tmp_path / "gsm8k.yaml").write_text("task: gsm8k\n")
    check_suite(suite, settings().model_copy(update={"include": str(tmp_path)}))


@pytest.mark.usefixtures("online")
def test_answers_that_do_not_fit_the_model():
    suite = params.Suite(gen=["aime25"])
    check_suite(suite, settings(), Limits(300, 32769))
    check_suite(suite, settings(), Limits(300, None))
    line = r"^task 'aime25' lets the model write up to 32768 tokens \(max_gen_toks\), .* context of 32768 tokens has to"
    with pytest.raises(UserError, match=line):
        check_suite(suite, settings(), Limits(300, 32768))
    with pytest.raises(UserError, match=r"^task 'own' lets the model write up to 9 tokens"):
        check_generation("own", 9, 9)


@pytest.mark.usefixtures("online")
def test_code_is_refused_before_all_else():
    with pytest.raises(UserError, match=r"^task 'humaneval' executes code that the model writes"):
        check_suite(params.Suite(gen=["humaneval"]), settings(), Limits(300, 8))


def test_the_pinned_data_sets_are_those_that_lm_eval_reads():
    """And LiveCodeBench's is that of our own task file."""
    root = Path(lm_eval.tasks.__file__).parent
    for name, pinned in PINNED.items():
        files = [path for path in (root / pinned.folder).rglob("*") if path.suffix in (".yaml", "") and path.is_file()]
        contents = [yaml.load(path.read_text(encoding="utf-8"), task_files._Loader) for path in files]
        named = {content.get("dataset_path") for content in contents}
        named |= {(content.get("dataset_kwargs") or {}).get("dataset") for content in contents}
        assert pinned.data in named, name


def test_the_check_is_light():
    """The stage check runs it; it must not load lm-eval or torch."""
    code = (
        "import sys\nfrom ream import params\nfrom ream.evaluation.suite_checks import check_suite\n"
        "check_suite(params.Suite(mc=['arc_easy']), params.Evaluation(suite='s'))\n"
        "print(sorted({'torch', 'transformers', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    environment = {"PATH": "", "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("made", "what"), [(False, "does not exist"), (True, "is a file")])
def test_a_mistyped_folder_of_tasks(tmp_path, made, what):
    folder = tmp_path / "taskss"
    if made:
        folder.touch()
    with pytest.raises(UserError, match=f"taskss {what}; name a folder of lm-eval's task files"):
        check_suite(params.Suite(), settings(include=str(folder)))
