"""Settings written as SECTION.KEY=VALUE, put into a tree of plain values."""

import pytest
import yaml

from ream.errors import UserError
from ream.params.setting import parse_setting, with_settings

TREE = {
    "compute": {"threads": 1},
    "grouping": {"group_size": {24: 4, 16: 8}},
    "methods": {"ream": {"saliency": "reap"}, "v1.5": {"saliency": "ean"}},
}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("compute.threads=4", "compute.threads", 4),
        ("compute.threads=auto", "compute.threads", "auto"),
        ("merge.shard_gb=", "merge.shard_gb", None),
        ("merge.shard_gb=0.5", "merge.shard_gb", 0.5),
        ("evaluation.include=a=b", "evaluation.include", "a=b"),
        ("mixes.new={a: 1, b: 0.5}", "mixes.new", {"a": 1, "b": 0.5}),
        ("model.trust_remote_code=true", "model.trust_remote_code", True),
    ],
)
def test_a_value_is_read_as_yaml(text, path, value):
    assert parse_setting(text) == (path, value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("threads=4", "did you mean compute.threads=4?"),
        ("shard-gb=2", "did you mean merge.shard_gb=2?"),
        ("compute.thread", "did you mean compute.threads=VALUE?"),
        ("=4", "as in compute.threads=4"),
        ("compute.=4", "as in compute.threads=4"),
        ("", "as in compute.threads=4"),
    ],
)
def test_a_text_without_a_path_and_a_value_is_refused_with_the_nearest_setting(text, hint):
    with pytest.raises(UserError) as caught:
        parse_setting(text)
    assert str(caught.value).startswith(f"--set: '{text}' is not SECTION.KEY=VALUE")
    assert str(caught.value).endswith(hint)


def test_values_are_replaced_and_the_given_tree_stays():
    before = yaml.safe_dump(TREE)
    changed = with_settings(TREE, [("compute.threads", 2), ("statistics.probes", 7), ("methods.new", {"a": 1})])
    assert changed["compute"] == {"threads": 2}
    assert changed["statistics"] == {"probes": 7}
    assert changed["methods"] == {**TREE["methods"], "new": {"a": 1}}
    assert yaml.safe_dump(TREE) == before


def test_a_table_that_yaml_aliases_share_changes_in_one_place():
    tree = yaml.safe_load("methods: {a: {refit: &r {ridge: 1}}, b: {refit: *r}}")
    changed = with_settings(tree, [("methods.a.refit.ridge", 2)])
    assert changed == {"methods": {"a": {"refit": {"ridge": 2}}, "b": {"refit": {"ridge": 1}}}}


def test_names_may_contain_dots_and_keys_be_numbers():
    changed = with_settings(TREE, [("methods.v1.5.saliency", "reap"), ("grouping.group_size.16", 9)])
    assert changed["methods"]["v1.5"] == {"saliency": "reap"}
    assert changed["grouping"]["group_size"] == {24: 4, 16: 9}


def test_a_path_through_an_entry_that_does_not_exist_is_refused():
    with pytest.raises(
        UserError, match=r"--set: key 'methods.rean' is unknown; did you mean 'methods.ream'\? 'methods'"
    ):
        with_settings(TREE, [("methods.rean.saliency", "reap")])


def test_a_path_through_a_plain_value_is_refused():
    with pytest.raises(UserError, match=r"--set: compute.threads is a value, not a table, so compute.threads.x does"):
        with_settings(TREE, [("compute.threads.x", 1)])
