"""Which run has which thread of a plugin host."""

from __future__ import annotations

from trio_afrender.plugins.host.plugin_threads import NOBODY, SPARE, Threads


def take(threads: Threads, run: int) -> int:
    number = threads.next
    threads.take(run)
    return number


def test_a_thread_is_used_again_after_a_run_that_was_trusted() -> None:
    threads = Threads()
    first = take(threads, 10)
    threads.name(first, 100, 1000)
    threads.trust(10)
    assert not threads.give_back(10)
    assert take(threads, 11) == first
    assert threads.ids(11) == (100, 1000)
    assert threads.ids(10) == NOBODY


def test_trust_is_in_a_run_and_not_in_a_thread() -> None:
    threads = Threads()
    first = take(threads, 10)
    threads.name(first, 100, 1000)
    threads.trust(10)
    threads.give_back(10)
    take(threads, 11)
    assert threads.give_back(11)
    assert take(threads, 12) != first
    assert threads.ids(12) == NOBODY


def test_a_run_whose_call_was_left_behind_is_trusted_no_more() -> None:
    threads = Threads()
    take(threads, 10)
    threads.trust(10)
    threads.distrust(10)
    assert threads.give_back(10)


def test_two_runs_never_have_one_thread() -> None:
    threads = Threads()
    numbers = [take(threads, run) for run in range(5)]
    for run in (1, 3):
        threads.trust(run)
        threads.give_back(run)
    again = [take(threads, run) for run in (11, 13, 14)]
    assert set(again[:2]) == {numbers[1], numbers[3]}
    assert again[2] not in numbers


def test_what_is_kept_is_bounded() -> None:
    threads = Threads()
    runs = range(SPARE + 5)
    for run in runs:
        take(threads, run)
        threads.trust(run)
    assert [threads.give_back(run) for run in runs] == [False] * SPARE + [True] * 5
    assert not threads


def test_a_name_that_comes_too_late_is_nobodys() -> None:
    threads = Threads()
    number = take(threads, 10)
    threads.give_back(10)
    threads.name(number, 100, 1000)
    threads.trust(10)
    assert threads.ids(10) == NOBODY
    assert 10 not in threads
