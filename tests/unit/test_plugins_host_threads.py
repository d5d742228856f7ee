"""Which run has which thread of a plugin host."""

from __future__ import annotations

from trio_afrender.plugins.host.plugin_threads import KEPT_THREADS, NO_THREAD, PluginThreads


def take(threads: PluginThreads, run: int) -> int:
    number = threads.next
    threads.take(run)
    return number


def test_a_thread_is_used_again_after_a_run_that_was_trusted() -> None:
    threads = PluginThreads()
    first = take(threads, 10)
    threads.name(first, 100, 1000)
    threads.mark_clean(10)
    assert not threads.give_back(10)
    assert take(threads, 11) == first
    assert threads.ids(11) == (100, 1000)
    assert threads.ids(10) == NO_THREAD


def test_trust_is_in_a_run_and_not_in_a_thread() -> None:
    threads = PluginThreads()
    first = take(threads, 10)
    threads.name(first, 100, 1000)
    threads.mark_clean(10)
    threads.give_back(10)
    take(threads, 11)
    assert threads.give_back(11)
    assert take(threads, 12) != first
    assert threads.ids(12) == NO_THREAD


def test_a_run_whose_call_was_left_behind_is_trusted_no_more() -> None:
    threads = PluginThreads()
    take(threads, 10)
    threads.mark_clean(10)
    threads.mark_unclean(10)
    assert threads.give_back(10)


def test_two_runs_never_have_one_thread() -> None:
    threads = PluginThreads()
    numbers = [take(threads, run) for run in range(5)]
    for run in (1, 3):
        threads.mark_clean(run)
        threads.give_back(run)
    again = [take(threads, run) for run in (11, 13, 14)]
    assert set(again[:2]) == {numbers[1], numbers[3]}
    assert again[2] not in numbers


def test_what_is_kept_is_bounded() -> None:
    threads = PluginThreads()
    runs = range(KEPT_THREADS + 5)
    for run in runs:
        take(threads, run)
        threads.mark_clean(run)
    assert [threads.give_back(run) for run in runs] == [False] * KEPT_THREADS + [True] * 5
    assert not threads


def test_a_name_that_comes_too_late_is_nobodys() -> None:
    threads = PluginThreads()
    number = take(threads, 10)
    threads.give_back(10)
    threads.name(number, 100, 1000)
    threads.mark_clean(10)
    assert threads.ids(10) == NO_THREAD
    assert 10 not in threads
