"""The shared look at all processes: who is read, and when. Threads are real, the clock is not."""

from __future__ import annotations

import attrs
import trio

from trio_afrender.process.process_snapshot import ProcessTable
from trio_afrender.process.procfs import ProcessFacts


def facts(pid: int, parent: int = 1, started: float = 1.0) -> ProcessFacts:
    return ProcessFacts(pid=pid, parent=parent, group=pid, session=pid, started=started, alive=True)


@attrs.define(eq=False)
class Host:
    """Processes, and a record of who was asked for."""

    processes: dict[int, ProcessFacts]
    asked: list[int] = attrs.field(factory=list)
    wholes: int = 0
    now: float = 0.0

    def read_all(self) -> dict[int, ProcessFacts]:
        self.wholes += 1
        return dict(self.processes)

    def read_one(self, pid: int) -> ProcessFacts | None:
        self.asked.append(pid)
        return self.processes.get(pid)

    def table(self) -> ProcessTable:
        return ProcessTable(
            trio.CapacityLimiter(1),
            read_all=self.read_all,
            read_pids=lambda: list(self.processes),
            read_one=self.read_one,
            clock=lambda: self.now,
        )


def renew(table: ProcessTable) -> dict[int, ProcessFacts]:
    table._facts = table._renew()
    return dict(table._facts)


def test_only_new_ones_and_orphans_are_read() -> None:
    host = Host({1: facts(1, 0), 5: facts(5), 6: facts(6, 5)})
    table = host.table()
    assert renew(table) == host.processes
    del host.processes[5]
    host.processes[6] = facts(6, 1)  # adopted
    host.processes[7] = facts(7, 6)
    assert renew(table) == host.processes
    assert sorted(host.asked) == [6, 7]
    assert renew(table) == host.processes
    assert sorted(host.asked) == [6, 7], "nothing is new"
    assert host.wholes == 1


def test_all_are_read_again_after_a_while() -> None:
    host = Host({1: facts(1, 0), 5: facts(5)})
    table = host.table()
    renew(table)
    host.processes[5] = facts(5, started=99.0)  # the number is another's
    assert renew(table)[5].started == 1.0
    host.now += 61
    assert renew(table)[5].started == 99.0


def test_who_ends_between_two_reads_is_left_out() -> None:
    host = Host({1: facts(1, 0)})
    table = host.table()
    renew(table)
    table._read_pids = lambda: [1, 8]
    assert renew(table) == {1: facts(1, 0)}


async def test_those_that_ask_at_one_moment_share_a_look() -> None:
    host = Host({1: facts(1, 0)})
    table = host.table()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(table.read)
    assert host.wholes == 1
    assert host.asked == []
