"""The report of a job as one page for a browser: no scripts, nothing from elsewhere. Blocking.

All texts of jobs, tasks and programs are escaped, and the page forbids the browser to run or load
anything. What can be many has a limit, and what is left out is stated with its number.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable
from html import escape

from trio_afrender.cli.summary import label, list_warnings_of_tasks, seconds_text
from trio_afrender.cli.terminal import clean
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.safe_files import read_regular
from trio_afrender.task.usage_totals import show_bytes
from trio_afrender.text import count_text, last_state, without_escapes
from trio_afrender.version import __version__

__all__ = ("make_report_page",)

MAX_FAILURES = 50
MAX_LINES, MAX_LINE = 40, 400
"""Last lines of a failed task's output, and characters of each."""
MAX_BARS = 3000
"""Tasks in the timeline; of more, the longest are drawn."""
MAX_ROWS = 5000
"""Tasks in the table."""
MAX_PICTURES = 240
MAX_PICTURE, MAX_PICTURE_BYTES = 200_000, 12_000_000
"""Bytes of one thumbnail and of all together."""
TOP = 10
"""Tasks in each list of the largest."""
_LANE, _LANE_GAP = 14, 3
"""Pixels of a bar in the timeline."""
_TYPES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png"}
_WORDS = {
    "done": "done", "error": "failed", "killed": "stopped", "not run": "not run",
    "skipped": "skipped", "running": "running", "ready": "not run", "waiting": "not run",
}  # fmt: skip
_CLASSES = {"done": "good", "failed": "bad", "stopped": "bad", "skipped": "mild"}
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --back: #f6f6f7; --card: #fff; --text: #1c1d20; --pale: #63666d;
  --line: #dcdde1; --good: #1a7f37; --bad: #c4232d; --mild: #9a6700; --accent: #2a6fd6;
  --bar: #6aa3ea; --code: #f0f1f3; }
@media (prefers-color-scheme: dark) { :root { --back: #16171a; --card: #1f2125; --text: #e4e5e8;
  --pale: #9a9da5; --line: #34373d; --good: #4cc26a; --bad: #ff6b6b; --mild: #e0b040;
  --accent: #7db1f5; --bar: #3f74b8; --code: #16171a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .3rem 1rem; margin-bottom: 1rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .7rem; }
.badge { padding: .15rem .7rem; border-radius: 1rem; color: #fff; background: var(--pale);
  font-weight: 600; }
.badge.whole { background: #1a7f37; } .badge.broken { background: #b8232c; }
.when { color: var(--pale); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin-bottom: 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1rem; }
.tiles b { display: block; font-size: 1.45rem; font-weight: 600; line-height: 1.25; }
.tiles span, .pale { color: var(--pale); font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .mild { color: var(--mild); }
.share { display: flex; height: .6rem; border-radius: .3rem; overflow: hidden; margin-top: 1rem;
  background: var(--line); }
.share i.good { background: var(--good); } .share i.bad { background: var(--bad); }
.share i.mild { background: var(--mild); }
.time { display: grid; grid-template-columns: minmax(5rem, max-content) 1fr; gap: .45rem .9rem; }
.time .name { max-width: 14rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  font-size: .9rem; }
.time svg { display: block; width: 100%; background: var(--code); border-radius: .3rem; }
.time svg.axis { background: none; overflow: visible; }
.time text { fill: var(--pale); font-size: 12px; }
.time line { stroke: var(--line); }
.time rect { fill: var(--bar); stroke: var(--card); stroke-width: 1px; }
.time rect.bad { fill: var(--bad); } .time rect.mild { fill: var(--mild); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1rem; }
.two section { margin: 0; } .two { margin-bottom: 1rem; }
.top { display: grid; grid-template-columns: minmax(0, 11rem) 1fr max-content; gap: .35rem .8rem;
  align-items: center; font-size: .9rem; }
.top .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.top .track { background: var(--code); border-radius: .2rem; height: .8rem; }
.top .track i { display: block; height: 100%; border-radius: .2rem; background: var(--bar);
  min-width: 2px; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
details:first-of-type { border: 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre { background: var(--code); padding: .7rem .9rem; border-radius: .4rem; overflow-x: auto;
  font: 13px/1.45 ui-monospace, monospace; margin: .5rem 0; }
pre b { color: var(--bad); }
ul { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .8rem; }
figure { margin: 0; }
figure img { width: 100%; height: 6.5rem; object-fit: contain; background: #101113;
  border-radius: .3rem; }
figcaption { font-size: .8rem; color: var(--pale); overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; color: var(--pale); font-weight: 500; }
th, td { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.wide { overflow-wrap: anywhere; }
footer { color: var(--pale); font-size: .85rem; }
@media print { body { max-width: none; } section { break-inside: avoid; } }
"""


def make_report_page(job: JobView, now: float | None = None) -> str:
    """Return the page. Reads outputs of failed tasks and thumbnails; `now` is Unix time."""
    now = time.time() if now is None else now
    name = _text(job.name)
    parts = [
        _make_header(job),
        _make_overview(job, now),
        _make_failures(job),
        _make_warnings(job),
        _make_timeline(job, now),
        _make_largest(job, now),
        _make_pictures(job),
        _make_table(job, now),
    ]
    body = "\n".join(filter(None, parts))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}: {_text(job.state)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"<footer>trio_afrender {_text(__version__)}, {_clock(now)}</footer>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """A text for the page: control characters are shown, markup is escaped."""
    return escape(clean(text))


def _word(task: TaskView) -> str:
    return _WORDS.get(task.outcome, task.outcome)


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))


def _make_header(job: JobView) -> str:
    kind = "whole" if job.state == "done" else "broken"
    words = {"error": "failed"}.get(job.state, job.state)
    when = ""
    if job.started is not None:
        when = _clock(job.started)
        if job.finished is not None:
            when += f" to {time.strftime('%H:%M:%S', time.localtime(job.finished))}"
    user = f"of {_text(job.user_name)}, " if job.user_name else ""
    return (
        f'<header><h1>{_text(job.name)}</h1><span class="badge {kind}">{_text(words)}</span>'
        f'<span class="when">{user}{when or "never started"}</span></header>'
    )


def _make_overview(job: JobView, now: float) -> str:
    counts = Counter(map(_word, job.tasks))
    tiles = []
    for word in ("done", "failed", "stopped", "skipped", "not run", "running"):
        if counts[word]:
            kind = _CLASSES.get(word, "")
            of = f" of {len(job.tasks)}" if word == "done" else ""
            tiles.append(f'<div><b class="{kind}">{counts[word]}{of}</b><span>{word}</span></div>')
    if job.started is not None:
        took = (job.finished if job.finished is not None else now) - job.started
        tiles.append(
            f"<div><b>{seconds_text(max(0.0, took))}</b><span>from start to end</span></div>"
        )
    times = [task.seconds(now) for task in job.tasks if task.started is not None]
    if times:
        tiles.append(
            f"<div><b>{seconds_text(sum(times))}</b><span>of all tasks together</span></div>"
        )
        mean = seconds_text(sum(times) / len(times))
        tiles.append(f"<div><b>{mean}</b><span>a task, on average</span></div>")
    renders = {task.render for task in job.tasks if task.render}
    if renders:
        noun = "render" if len(renders) == 1 else "renders"
        tiles.append(f"<div><b>{len(renders)}</b><span>{noun}</span></div>")
    if peak := max((task.memory_peak for task in job.tasks), default=0):
        tiles.append(f"<div><b>{show_bytes(peak)}</b><span>most memory of a task</span></div>")
    shares = "".join(
        f'<i class="{_CLASSES.get(word, "")}" style="flex:{counts[word]}" '
        f'title="{counts[word]} {word}"></i>'
        for word in ("done", "skipped", "failed", "stopped", "not run", "running")
        if counts[word]
    )
    return f'<section><div class="tiles">{"".join(tiles)}</div><div class="share">{shares}</div></section>'


def _make_failures(job: JobView) -> str:
    failed = [task for task in job.tasks if task.state == "error"]
    if not failed:
        return ""
    parts = [
        _make_failure(task, is_open=number < 3) for number, task in enumerate(failed[:MAX_FAILURES])
    ]
    if len(failed) > MAX_FAILURES:
        parts.append(_left_out(len(failed) - MAX_FAILURES, "more failed task"))
    return f"<section><h2>Errors</h2>{''.join(parts)}</section>"


def _make_failure(task: TaskView, *, is_open: bool) -> str:
    cause = task.cause or "it is not known why"
    facts = ["1 try" if task.attempts == 1 else f"{task.attempts} tries"]
    if task.exit_code is not None:
        code = f"exit code {task.exit_code}" if task.exit_code >= 0 else f"signal {-task.exit_code}"
        facts += [] if code in cause else [code]
    facts += [f"on {task.render}"] if task.render else []
    steps = "".join(
        f"<li>{_text(step.event)}: {_text(step.text)}</li>"
        for step in task.attempt_why
        if step.event != "cause"
    )
    states = filter(None, map(last_state, task.output[-200_000:].split("\n")))
    lines = [without_escapes(line)[:MAX_LINE] for line in states][-MAX_LINES:]
    # The cause may quote a line of the output, which is marked there.
    start = cause.find('"')
    end = cause.rfind('" (line ')
    quoted = cause[start + 1 : end].strip() if 0 <= start < end else ""
    shown = "\n".join(
        f"<b>{_text(line)}</b>" if quoted and quoted in line else _text(line) for line in lines
    )
    output = f"<pre>{shown}</pre>" if lines else '<p class="pale">It has printed nothing.</p>'
    return (
        f"<details{' open' if is_open else ''}><summary><b>{escape(label(task))}</b>: "
        f'<span class="bad">{_text(cause)}</span> <span class="pale">({_text(", ".join(facts))})</span>'
        f'</summary>{output}<ul class="pale">{steps}</ul></details>'
    )


def _make_warnings(job: JobView) -> str:
    found = list_warnings_of_tasks(job.tasks, most=100)
    if not found:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in found)
    return f'<section><h2 class="mild">Warnings</h2><ul>{items}</ul></section>'


def _make_timeline(job: JobView, now: float) -> str:
    ran = [task for task in job.tasks if task.started is not None]
    if not ran:
        return ""
    start = min(task.started or 0.0 for task in ran)
    end = max((task.started or 0.0) + task.seconds(now) for task in ran)
    span = max(end - start, 0.1)
    shown = sorted(ran, key=lambda task: -task.seconds(now))[:MAX_BARS]
    by_render: dict[str, list[TaskView]] = {}
    for task in sorted(shown, key=lambda task: task.started or 0.0):
        by_render.setdefault(task.render or "?", []).append(task)
    rows = []
    for name, tasks in sorted(by_render.items()):
        bars = ""
        ends: list[float] = []
        for task in tasks:
            started = task.started or 0.0
            # A lane for each, so that none covers another. A moment of overlap is the time between
            # the end of a process and its report.
            lane = next((i for i, free in enumerate(ends) if free <= started + 0.05), len(ends))
            ends[lane : lane + 1] = [started + task.seconds(now)]
            bars += _make_bar(task, lane, start, span, now)
        height = len(ends) * (_LANE + _LANE_GAP) + _LANE_GAP
        rows.append(
            f'<div class="name" title="{_text(name)}">{_text(name)}</div>'
            f'<svg height="{height}" role="img" aria-label="{_text(name)}">{bars}</svg>'
        )
    note = ""
    if len(ran) > len(shown):
        note = _left_out(len(ran) - len(shown), "shorter task")
    if any(task.attempts > 1 for task in shown):
        note += '<p class="pale">Of tasks with several tries, the last one.</p>'
    axis = _make_axis(span)
    return (
        f'<section><h2>Timeline by render</h2><div class="time">{"".join(rows)}<div></div>{axis}</div>'
        f"{note}</section>"
    )


def _make_bar(task: TaskView, lane: int, start: float, span: float, now: float) -> str:
    left = ((task.started or start) - start) / span * 100
    wide = max(task.seconds(now) / span * 100, 0.15)
    top = _LANE_GAP + lane * (_LANE + _LANE_GAP)
    kind = {"failed": "bad", "stopped": "bad", "skipped": "mild"}.get(_word(task), "")
    title = f"{label(task)}: {_word(task)}, {seconds_text(task.seconds(now))}"
    return (
        f'<rect class="{kind}" x="{left:.3f}%" y="{top}" width="{wide:.3f}%" height="{_LANE}" rx="2">'
        f"<title>{escape(title)}</title></rect>"
    )


def _make_axis(span: float) -> str:
    step = next(
        (each for each in _STEPS if span / each <= 8), 86_400 * (int(span / 86_400 / 8) + 1)
    )
    marks = []
    for number in range(int(span / step) + 1):
        at = number * step / span * 100
        anchor = "start" if at < 3 else "end" if at > 97 else "middle"
        marks.append(
            f'<line x1="{at:.3f}%" x2="{at:.3f}%" y1="0" y2="5"></line>'
            f'<text x="{at:.3f}%" y="19" text-anchor="{anchor}">{_offset(number * step)}</text>'
        )
    return f'<svg class="axis" height="24">{"".join(marks)}</svg>'


def _offset(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _make_largest(job: JobView, now: float) -> str:
    lists = [
        _make_top("Slowest", job, lambda task: task.seconds(now), seconds_text),
        _make_top(
            "Most memory", job, lambda task: task.memory_peak, lambda value: show_bytes(int(value))
        ),
    ]
    shown = "".join(filter(None, lists))
    return f'<div class="two">{shown}</div>' if shown else ""


def _make_top(
    title: str, job: JobView, key: Callable[[TaskView], float], show: Callable[[float], str]
) -> str:
    largest = [task for task in sorted(job.tasks, key=key, reverse=True)[:TOP] if key(task) > 0]
    if not largest:
        return ""
    most = key(largest[0])
    rows = "".join(
        f'<div class="name" title="{escape(label(task))}">{escape(label(task))}</div>'
        f'<div class="track"><i style="width:{key(task) / most * 100:.1f}%"></i></div>'
        f"<div>{show(key(task))}</div>"
        for task in largest
    )
    return f'<section><h2>{title}</h2><div class="top">{rows}</div></section>'


def _make_pictures(job: JobView) -> str:
    files = [
        (task, path)
        for task in job.tasks
        for path in task.files
        if path.suffix.casefold() in _TYPES
    ]
    if not files:
        return ""
    count = len(files)
    if count > MAX_PICTURES:
        files = [files[i * (count - 1) // (MAX_PICTURES - 1)] for i in range(MAX_PICTURES)]
    figures, room = [], MAX_PICTURE_BYTES
    for task, path in files:
        try:
            data = base64.b64encode(read_regular(path, MAX_PICTURE)).decode()
        except OSError:  # also of one that is too large
            continue
        source = f"data:image/{_TYPES[path.suffix.casefold()]};base64,{data}"
        if len(source) > room:
            continue
        room -= len(source)
        caption = _text(path.name.removesuffix(".jpg"))
        figures.append(
            f'<figure><img loading="lazy" alt="{caption}" src="{source}">'
            f'<figcaption title="{escape(label(task))}: {caption}">{caption}</figcaption></figure>'
        )
    if not figures:
        return ""
    left = count - len(figures)
    note = _left_out(left, "more picture") if left else ""
    return (
        f'<section><h2>Pictures</h2><div class="pictures">{"".join(figures)}</div>{note}</section>'
    )


def _make_table(job: JobView, now: float) -> str:
    rows = []
    for task in job.tasks[:MAX_ROWS]:
        word, started, took = _word(task), "", ""
        if task.started is not None:
            started = time.strftime("%H:%M:%S", time.localtime(task.started))
            took = seconds_text(task.seconds(now))
        remark = task.cause if task.state == "error" else ""
        if task.outcome == "not run" and task.why:
            remark = task.why[-1].text
        rows.append(
            f"<tr><td>{_text(task.block_name)}</td><td>{_text(task.name)}</td>"
            f'<td class="{_CLASSES.get(word, "pale")}">{_text(word)}</td>'
            f"<td>{_text(task.render)}</td>"
            f'<td class="number">{started}</td>'
            f'<td class="number">{took}</td>'
            f'<td class="number">{task.attempts or ""}</td>'
            f'<td class="number">{show_bytes(task.memory_peak) if task.memory_peak else ""}</td>'
            f'<td class="wide">{_text(remark)}</td></tr>'
        )
    heads = (
        ("block", ""), ("task", ""), ("outcome", ""), ("render", ""), ("started", "number"),
        ("time", "number"), ("tries", "number"), ("memory", "number"), ("", ""),
    )  # fmt: skip
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in heads)
    left = len(job.tasks) - MAX_ROWS
    note = _left_out(left, "more task") if left > 0 else ""
    is_open = " open" if len(job.tasks) <= 40 else ""
    return (
        f"<section><details{is_open}><summary><b>All tasks</b></summary>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        f"{note}</details></section>"
    )


def _left_out(count: int, noun: str) -> str:
    return f'<p class="pale">... and {count_text(count, noun)}</p>'
