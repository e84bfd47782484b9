"""How many experts can be kept and how large groups must be: the numbers on both sides of every limit."""

from types import SimpleNamespace

import pytest

from ream.models.family.sizes import Sizes, check_group_size, check_kept
from tests.models.storage.test_checkpoint import refused


def sizes(experts=8, top_k=2, groups=1, top_groups=1, best=1):
    return Sizes(
        layers=1, moe_layers=(0,), experts=experts, top_k=top_k, hidden=4, width=4, router_groups=groups,
        router_top_groups=top_groups, router_group_best=best,
    )  # fmt: skip


def test_between_the_selected_experts_and_all():
    for kept in (2, 3, 8):
        check_kept(sizes(), kept)
    refused(lambda: check_kept(sizes(), 1), "1 is fewer", "keep at least 2")
    refused(lambda: check_kept(sizes(), 9), "9 is more", "keep at most 8")


@pytest.mark.parametrize(("kept", "advice"), [(3, "use 2 or 4"), (5, "use 4 or 6"), (7, "use 6 or 8")])
def test_router_groups_keep_the_same_number_of_experts(kept, advice):
    model = sizes(groups=2, top_groups=2)
    refused(lambda: check_kept(model, kept), "not a multiple of the router's 2 groups", advice)
    check_kept(model, kept + 1)


def test_no_advice_to_keep_none_or_more_than_there_are():
    assert refused(lambda: check_kept(sizes(top_k=1, groups=2), 1)).endswith("use 2")
    assert refused(lambda: check_kept(sizes(experts=9, groups=5), 9)).endswith("use 5")


def test_a_token_finds_its_experts_in_the_groups_that_it_may_use():
    """k = 4 of 2 groups out of 4: 2 in each group suffice, 1 in each does not."""
    model = sizes(experts=16, top_k=4, groups=4, top_groups=2)
    check_kept(model, 8)
    refused(lambda: check_kept(model, 4), "leaves 1 in each of the router's 4 groups", "keep at least 8")


def test_a_group_keeps_as_many_experts_as_score_it():
    """k = 2 of 2 groups out of 2, scored by the sum of their two best experts."""
    model = sizes(groups=2, top_groups=2, best=2)
    check_kept(model, 4)
    refused(lambda: check_kept(model, 2), "leaves 1 in each", "keep at least 4")
    check_kept(sizes(groups=2, top_groups=2), 2)


@pytest.mark.parametrize(("kept", "size"), [(4, 1), (2, 3), (3, 2), (8, 1)])
def test_groups_that_are_just_large_enough(kept, size):
    """K·C ≥ N − K for N = 8: 4·1 = 4 and 2·3 = 6 are equal, 3·2 = 6 > 5."""
    check_group_size(sizes(), kept, size)


@pytest.mark.parametrize(("kept", "size", "least"), [(3, 1, 2), (2, 2, 3), (1, 6, 7)])
def test_groups_that_are_too_small(kept, size, least):
    refused(
        lambda: check_group_size(sizes(), kept, size), f"group size {size}", f"other {8 - kept}", f"at least {least}"
    )
    check_group_size(sizes(), kept, least)


def test_groups_of_experts_stay_within_a_router_group():
    """Two router groups of 8: 2 centroids in each absorb the other 6."""
    model = sizes(experts=16, groups=2, top_groups=2)
    check_group_size(model, 4, 3)
    refused(lambda: check_group_size(model, 4, 2), "2 centroids", "other 6", "at least 3")


@pytest.mark.parametrize(
    ("experts", "kept", "router_groups", "least"),
    [(8, 2, 1, 3), (8, 1, 1, 7), (12, 6, 1, 1), (16, 4, 2, 3), (12, 3, 3, 3), (9, 2, 1, 4)],
)
def test_group_size_may_be_just_large_enough(experts, kept, router_groups, least):
    """K·C = N − K is accepted (in the last case K·C = N − K + 1, as K does not divide N); one less is refused."""
    model = SimpleNamespace(experts=experts, router_groups=router_groups)
    check_group_size(model, kept, least)
    others, centroids = (experts - kept) // router_groups, kept // router_groups
    refused(
        lambda: check_group_size(model, kept, least - 1),
        f"group size {least - 1}: {centroids} centroids", f"other {others} experts", f"use at least {least} ",
    )  # fmt: skip


def test_one_expert_more_than_the_centroids_can_absorb_is_refused():
    check_group_size(SimpleNamespace(experts=9, router_groups=1), 3, 2)  # 3 · 2 = 9 − 3
    refused(lambda: check_group_size(SimpleNamespace(experts=10, router_groups=1), 3, 2), "other 7", "at least 3 ")
