import threading
import time

import numpy as np
import pytest
import torch

from ream.core.assignments import SMALL, WAITING_BYTES, Assignments, assignment, most_waiting, waiting_bytes


def costs(number, width=SMALL):
    rng = np.random.default_rng(5)
    return [torch.from_numpy(rng.uniform(size=(width, width))) for _ in range(number)]


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_each_problem_has_its_own_answer(threads):
    problems = costs(6)
    with Assignments(threads) as solver:
        futures = [solver.submit(cost) for cost in problems]
    for cost, future in zip(problems, futures, strict=True):
        assert future.result().tolist() == assignment(cost).tolist()


def turns_during(solve, cost):
    """How often this thread got a turn in the middle half of the time that another thread spends in ``solve``."""
    span, turns = [], []

    def timed(cost):
        span.append(time.perf_counter())
        answer = solve(cost)
        span.append(time.perf_counter())
        return answer

    with Assignments(1, timed) as solver:
        future = solver.submit(cost)
        while not future.done():
            turns.append(time.perf_counter())
            time.sleep(0.0002)
    quarter = (span[1] - span[0]) / 4
    return sum(span[0] + quarter < turn < span[1] - quarter for turn in turns)


def holding_the_lock(cost):
    """A third of a second in one call that does not release Python's global lock."""
    sum(range(20_000_000))
    return np.arange(len(cost))


def test_the_solver_lets_other_threads_work():
    """On a busy machine this thread may miss a turn, so several tries are allowed; with the lock held none helps."""
    numbers = torch.arange(900, dtype=torch.float64)
    cost = torch.outer(numbers, numbers)  # a hard case for shortest augmenting paths: a third of a second
    assert any(turns_during(assignment, cost) >= 3 for _ in range(6))
    assert any(turns_during(holding_the_lock, cost) < 3 for _ in range(3))


def test_the_number_of_waiting_problems_is_limited():
    running, most, lock = 0, [], threading.Lock()

    def solve(cost):
        nonlocal running
        with lock:
            running += 1
            most.append(running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return np.arange(len(cost))

    with Assignments(2, solve) as solver:
        for number, cost in enumerate(costs(8)):
            solver.submit(cost)
            assert number + 1 - len(most) <= 3  # more have not begun: two are being solved, one is next
    assert max(most) <= 2
    assert len(most) == 8


def test_waiting_matrices_are_bounded_by_bytes():
    assert most_waiting(4, 1000) == 5
    assert most_waiting(4, WAITING_BYTES // 2) == 2
    assert most_waiting(4, 10 * WAITING_BYTES) == 1
    assert waiting_bytes(0, 768) == waiting_bytes(4, SMALL - 1) == 0
    assert waiting_bytes(4, SMALL) == 5 * SMALL * SMALL * 8
    assert waiting_bytes(4, 768) == 5 * 768 * 768 * 8
    assert waiting_bytes(16, 14336) == 14336 * 14336 * 8


@pytest.mark.parametrize(("room", "most"), [(2, 2), (1, 1), (0.5, 1)])
def test_the_bytes_of_waiting_problems_are_limited(monkeypatch, room, most):
    """Three threads could solve three problems at once; the limit has room for fewer of these matrices."""
    monkeypatch.setattr("ream.core.assignments.WAITING_BYTES", int(room * 8 * SMALL * SMALL))
    under_way = []

    def solve(cost):
        time.sleep(0.005)
        return np.arange(len(cost))

    with Assignments(3, solve) as solver:
        futures = []
        for cost in costs(6):
            futures.append(solver.submit(cost))
            under_way.append(sum(not future.done() for future in futures))
    assert max(under_way) <= most


def test_an_error_is_raised_to_the_caller_and_ends_all_threads():
    def solve(cost):
        raise ValueError("matrix contains invalid numeric entries")

    with pytest.raises(ValueError, match="invalid numeric"), Assignments(2, solve) as solver:
        [answer.result() for answer in [solver.submit(cost) for cost in costs(3)]]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("assignment")]


def test_a_cost_that_is_not_a_number_is_refused():
    cost = torch.full((SMALL, SMALL), float("nan"), dtype=torch.float64)
    with pytest.raises(ValueError, match="invalid numeric"), Assignments(2) as solver:
        solver.submit(cost).result()


def test_an_interrupt_drops_what_has_not_begun():
    begun, go_on = threading.Event(), threading.Event()
    solved = []

    def solve(cost):
        begun.set()
        go_on.wait(5)
        solved.append(cost)
        return np.arange(len(cost))

    waiting = []

    def interrupted():
        with Assignments(1, solve) as solver:
            waiting.extend(solver.submit(cost) for cost in costs(2))
            begun.wait(5)
            threading.Timer(0.05, go_on.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert waiting[1].cancelled()
    assert len(solved) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("assignment")]


def test_small_problems_are_solved_at_once():
    used = []

    def solve(cost):
        used.append(threading.current_thread())
        return assignment(cost)

    with Assignments(2, solve) as solver:
        small, large = (solver.submit(costs(1, width)[0]) for width in (SMALL - 1, SMALL))
        assert small.done()
        large.result()
    assert used[0] is threading.main_thread()
    assert used[1] is not threading.main_thread()
