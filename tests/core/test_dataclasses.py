"""Values of the core are frozen."""

import dataclasses
import importlib

import pytest

from tests.core.test_imports import CORE

MODULES = [importlib.import_module(f"ream.core.{name}") for name in CORE]
DATACLASSES = {
    value.__qualname__: value
    for module in MODULES
    for value in vars(module).values()
    if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
}


@pytest.mark.parametrize("name", DATACLASSES)
def test_dataclasses_are_frozen(name):
    assert DATACLASSES[name].__dataclass_params__.frozen


def test_there_are_dataclasses():
    assert {"Sums", "LayerRecipe", "Expert", "RefitTokens"} <= DATACLASSES.keys()
