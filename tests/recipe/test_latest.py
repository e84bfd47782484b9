"""One expert is in memory at a time, and is computed once for all of its tensors."""

import weakref

import pytest

from ream.recipe.latest import Latest, Slot


class Value:
    pass


def test_a_value_is_made_once_until_another_is_asked_for():
    slot, made = Slot(), []

    def get(*key):
        return slot.get(key, lambda: made.append(key) or Value())

    first = get(0, 1)
    assert get(0, 1) is first
    assert get(0, 2) is not first
    assert get(1, 2) is not get(0, 2)
    assert get(0, 1) is not first
    assert made == [(0, 1), (0, 2), (1, 2), (0, 2), (0, 1)]


def test_the_old_value_is_gone_before_the_new_one_is_made():
    slot = Slot()
    old = weakref.ref(slot.get((0, 0), Value))
    assert old() is not None
    slot.get((0, 1), lambda: "still there" if old() else Value())
    assert isinstance(slot.get((0, 1), Value), Value)
    assert old() is None


def test_what_fails_leaves_nothing_behind():
    slot = Slot()
    slot.get((0, 0), lambda: 1)
    with pytest.raises(ZeroDivisionError):
        slot.get((0, 1), lambda: 1 / 0)
    assert slot.get((0, 0), lambda: 2) == 2
    assert slot.get((0, 1), lambda: 3) == 3


def test_the_three_forms_are_kept_apart():
    latest = Latest()
    assert [slot.get((0, 0), lambda name=name: name) for name, slot in vars(latest).items()] == list(vars(latest))
