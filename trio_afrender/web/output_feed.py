"""The topic of the output of a task: its end, what is printed, the next attempt; and pieces of it."""

from __future__ import annotations

import trio

from trio_afrender.afserver.output_follower import OutputPieces
from trio_afrender.afserver.remote_nodes import TaskNode
from trio_afrender.errors import JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.job_tasks import JobTasks
from trio_afrender.web.output_buffer import OutputBuffer, TaskOutput
from trio_afrender.web.topic import Topic

__all__ = ("feed_output", "make_stored_output")

_MAX_CHANGE = 64 * 1024
"""Bytes of one change: of what is printed faster, the beginning is left out."""
_INTERVAL = 0.5
"""Seconds between two changes."""
_ASK_AFTER = 2.5
"""Seconds until a render sends what it is asked for: the whole output is asked for then."""
_ASK_AGAIN = 15.0
_IN_THREAD = 1024 * 1024
"""Characters of an output that is encoded in a thread."""


async def make_stored_output(text: str) -> OutputBuffer:
    """The buffer of a stored output, all of which is kept."""

    def make() -> OutputBuffer:
        buffer = OutputBuffer(kept=4 * len(text) + 1)
        buffer.add(text)
        return buffer

    if len(text) < _IN_THREAD:
        await trio.lowlevel.checkpoint()
        return make()
    try:
        return await call_in_thread(make)
    except OSError:  # the host has no thread left: the page waits for this one
        return make()


async def feed_output(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """Keep the topic of an output up to date."""
    job, block, task = numbers
    key = (job, block, task)
    output = TaskOutput()
    watch.outputs[key] = output
    try:
        with watch.watch_job(job) as tasks:
            # One attempt after the other, until the task is gone.
            while not tasks.gone:
                try:
                    await watch.load_tasks(tasks)
                    if (found := tasks.find(block, task)) is None:
                        break
                    node = found[0]
                    if node.running:
                        await _Follower(watch, topic, tasks, key, output).follow(node)
                        continue
                    if node.starts != output.attempt or output.running or topic.describe is None:
                        text = await watch.farm.task_text(node, "output") if node.starts else ""
                        output.buffer = await make_stored_output(text)
                        output.attempt, output.running = node.starts, False
                        output.shown = output.buffer.end
                        topic.describe = lambda: output.describe(topic.name)
                        topic.replace()
                except (LinkLost, LinkRefused, ProtocolError):
                    await watch.round.wait()
                    continue
                except JobGone:
                    break
                await tasks.wait()
            topic.end(tasks.gone or f"job {job} has no task {block}.{task}")
    finally:
        if watch.outputs.get(key) is output:
            del watch.outputs[key]


class _Follower:
    """Follows one run while it prints."""

    def __init__(
        self,
        watch: FarmWatch,
        topic: Topic,
        tasks: JobTasks,
        key: tuple[int, int, int],
        output: TaskOutput,
    ) -> None:
        self._watch = watch
        self._topic = topic
        self._tasks = tasks
        self._key = key
        self._output = output
        self._pieces = OutputPieces()

    def _take(self, whole: str | None, text: str) -> None:
        if shown := self._pieces.add(whole, text):
            self._output.buffer.add(shown)

    async def follow(self, node: TaskNode) -> None:
        """Follow until the run is over, or another one begins. Raises what requests raise."""
        output, topic, watch = self._output, self._topic, self._watch
        output.buffer = OutputBuffer()
        output.attempt, output.running, output.shown = node.starts, True, 0
        topic.describe = lambda: output.describe(topic.name)
        topic.replace()
        connection = watch.connections
        async with watch.listen(self._key, self._take):
            ask_at, asked = trio.current_time() + _ASK_AFTER, False
            while watch.connections == connection and not self._tasks.gone:
                found = self._tasks.find(*self._key[1:])
                if found is None or not found[0].is_in_run(node.starts):
                    break
                due = trio.current_time() >= ask_at or (self._pieces.early and not asked)
                if due and not self._pieces.begun and watch.monitor is not None:
                    text = await watch.farm.ask_output(node, watch.monitor)
                    if text:
                        self._take(text, "")
                    ask_at, asked = trio.current_time() + _ASK_AGAIN, True
                self._publish()
                with trio.move_on_after(_INTERVAL):
                    await self._tasks.changed.wait()
                await trio.sleep(_INTERVAL / 2)
        if watch.connections != connection:
            return  # some of it may be lost: it is read again as a whole
        text = await watch.farm.task_text(node, "output", run=node.starts)
        rest = self._pieces.finish(text) if self._pieces.begun else text
        if rest:
            output.buffer.add(rest)
        stored = await make_stored_output(text)
        if stored.end == output.buffer.end:
            self._publish()
            output.buffer, output.running, output.shown = stored, False, stored.end
            topic.publish({"running": False})
        else:
            # What the farm has stored is shortened, or some pieces were lost: show what is stored.
            output.buffer, output.running, output.shown = stored, False, stored.end
            topic.replace()

    def _publish(self) -> None:
        """Publish what is new; of much, the end."""
        output = self._output
        new = output.buffer.end - output.shown
        if new <= 0:
            return
        if new > _MAX_CHANGE:
            piece = output.buffer.before(output.buffer.end, _MAX_CHANGE)
        else:
            piece = output.buffer.after(output.shown, new)
        output.shown = piece.end
        self._topic.publish({"start": piece.start, "end": piece.end, "text": piece.text})
