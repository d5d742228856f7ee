"""Renders a replayed log as an HTML page: the output in the parser's colours, the effect of each line."""

from __future__ import annotations

from html import escape

from trio_afrender.devtools.replay import Replay

__all__ = ("make_page",)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ background: #202020; color: #d0d0d0; font-family: sans-serif; margin: 1em; }}
.output {{ background: #000; font-family: monospace; padding: 1em; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
.output br {{ display: none; }}
.output span {{ color: #000; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.1em 1em 0.1em 0; text-align: left; vertical-align: top; }}
td:last-child {{ font-family: monospace; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<div class="output">{output}</div>
<h2>What each line did</h2>
<table>
<tr><th>line</th><th>what</th><th></th><th>text</th></tr>
{rows}
</table>
</body>
</html>
"""
_CONTROL_PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"} | {
    0x7F: 0x2421
}


def make_page(replay: Replay, name: str) -> str:
    """Return the HTML page of a replay made with ``html=True``. `name` is the name of the log.

    Text of the log is escaped; only a parser's own ``tagHTML`` can add markup to it.
    """
    state = replay.state
    rows = (
        (str(event.line), event.name, str(event.value), event.text[:2000])
        for event in replay.events
    )
    made = _PAGE.format(
        title=escape(f"{replay.parser}: {name}"),
        summary=escape(
            f"{state.percent}%, {state.frame} frames done; with exit code 0: {replay.status.name}"
        ),
        output=replay.html,
        rows="\n".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        ),
    )
    return made.translate(_CONTROL_PICTURES)
