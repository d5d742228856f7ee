"""What the farm notes for monitors: each id once, in order, and nothing without a watcher."""

from __future__ import annotations

from trio_afrender.farm.changes import Changes
from trio_afrender.protocol.messages import TaskKey


def test_nothing_is_collected_without_a_watcher() -> None:
    changes = Changes()
    changes.note_job(2, "add")
    changes.note_task(TaskKey(2, 0, 0))
    changes.watch(on=True)
    batch = changes.take()
    assert not batch.jobs.added
    assert not batch.tasks


def test_ids_come_once_in_the_order_of_their_first_change() -> None:
    changes = Changes()
    changes.watch(on=True)
    for job in (5, 3, 5, 4):
        changes.note_job(job, "change")
    assert list(changes.take().jobs.changed) == [5, 3, 4]
    assert not changes.take().jobs.changed


def test_a_change_of_a_task_is_one_of_its_block_and_its_job() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_task(TaskKey(2, 1, 7))
    batch = changes.take()
    assert list(batch.tasks) == [TaskKey(2, 1, 7)]
    assert batch.blocks == {(2, 1): "progress"}
    assert list(batch.jobs.changed) == [2]


def test_the_largest_changed_part_of_a_block_is_kept() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_block(2, 0, "full")
    changes.note_block(2, 0, "progress")
    changes.note_task(TaskKey(2, 0, 0))
    assert changes.take().blocks == {(2, 0): "full"}


def test_a_deleted_job_has_neither_been_added_nor_changed() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_job(2, "add")
    changes.note_task(TaskKey(2, 0, 0))
    changes.note_task(TaskKey(3, 0, 0))
    changes.note_job(2, "del", "user1")
    batch = changes.take()
    assert not batch.jobs.added
    assert list(batch.jobs.changed) == [3]
    assert list(batch.jobs.deleted) == [2]
    assert batch.job_owners == {2: "user1"}
    assert list(batch.tasks) == [TaskKey(3, 0, 0)]
    assert list(batch.blocks) == [(3, 0)]


def test_an_id_that_is_used_again_is_deleted_and_added() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_job(2, "del", "user1")
    changes.note_job(2, "add")
    batch = changes.take()
    assert list(batch.jobs.deleted) == [2]
    assert list(batch.jobs.added) == [2]


def test_watching_ends() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_render(1, "change")
    changes.watch(on=False)
    changes.note_render(1, "change")
    changes.watch(on=True)
    assert not changes.take().renders.changed


def test_users_pools_and_orders_are_noted() -> None:
    changes = Changes()
    changes.watch(on=True)
    changes.note_user(1, "add")
    changes.note_pool()
    changes.note_jobs_order(1)
    batch = changes.take()
    assert list(batch.users.added) == [1]
    assert batch.pool
    assert list(batch.orders) == [1]
