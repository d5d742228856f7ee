/** The output of a task: followed live, searched, with the colours of terminals, any size. */

import { pieces, plain } from "./ansi.js";
import { get } from "./api.js";
import { button, el, fill, icon, setText, visible } from "./dom.js";
import { oncePerFrame } from "./feed.js";
import { bytes, number } from "./format.js";
import { RowWindow } from "./window.js";

const MAX_LINES = 100_000; // lines that are kept: more leave at the top
const MAX_LINE = 20_000; // characters of a line that are shown
const LINE_HEIGHT = 19;
const PIECE = 65_536;

/** Make the view of the output of a task. `handler` takes the topic "output.JOB.BLOCK.TASK". */
export function makeOutput(id) {
  let lines = []; // {text, state}: state is that of the colours before it
  let visual = []; // [index of line, from, to]: what fits into the width
  let open = ""; // the last line, which has no end yet
  let colours = plain();
  let start = 0, end = 0, size = 0, attempt = 0, running = false;
  let dropped = false;
  let following = true;
  let columns = 100;
  let matches = [];
  let match = -1;
  let reading = false;
  let notice = ""; // why there is no earlier output

  const search = el("input", { type: "search", placeholder: "Search the output", "aria-label": "Search the output", on: {
    input: () => find(true),
    keydown: (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        step(event.shiftKey ? -1 : 1);
      }
    },
  } });
  const found = el("span", { class: "found", role: "status" });
  const earlier = button("Earlier output", readEarlier, { class: "act", hidden: true });
  const follow = button("Follow", () => setFollow(!following), { class: "act", "aria-pressed": "true" });
  const info = el("span", { class: "muted info" });
  const host = el("div", { class: "outlines" });
  const box = el("div", { class: "output", role: "log", "aria-live": "off", tabindex: "0", "aria-label": "Output" }, host);
  const element = el("section", { class: "outputbox" },
    el("div", { class: "filters" }, search, found,
      el("button", { type: "button", class: "plain", "aria-label": "Previous match", on: { click: () => step(-1) } }, icon("back")),
      el("button", { type: "button", class: "plain", "aria-label": "Next match", on: { click: () => step(1) } }, icon("next")),
      follow, earlier, info), box);
  const view = new RowWindow(box, host, LINE_HEIGHT, draw);
  const resized = new ResizeObserver(() => {
    const probe = el("span", { class: "probe" }, "0".repeat(50));
    box.append(probe);
    const wide = probe.getBoundingClientRect().width / 50;
    probe.remove();
    const fit = Math.max(20, Math.floor((box.clientWidth - 20) / (wide || 8)));
    if (fit !== columns) {
      columns = fit;
      layOut();
    }
  });
  resized.observe(box);
  box.addEventListener("scroll", () => {
    const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - LINE_HEIGHT;
    if (atEnd !== following && !reading) setFollow(atEnd, false);
  }, { passive: true });

  function setFollow(on, move = true) {
    following = on;
    follow.setAttribute("aria-pressed", String(on));
    if (on && move) box.scrollTop = box.scrollHeight;
  }

  /** What a terminal shows of a line: behind a `\r` it is written over. */
  function overwritten(text) {
    const stripped = text.endsWith("\r") ? text.slice(0, -1) : text;
    const at = stripped.lastIndexOf("\r");
    return at < 0 ? stripped : stripped.slice(at + 1);
  }

  function addLine(text) {
    const before = { ...colours };
    let shown = overwritten(text);
    if (shown.length > MAX_LINE) shown = `${shown.slice(0, MAX_LINE)} … ${number(shown.length - MAX_LINE)} more characters`;
    lines.push({ parts: pieces(shown, colours), before });
  }

  function take(text) {
    const all = (open + text).split("\n");
    open = all.pop();
    // A line without an end would grow for ever.
    if (open.length > 4 * MAX_LINE) {
      all.push(open);
      open = "";
    }
    for (const line of all) addLine(line);
    if (lines.length > MAX_LINES) {
      lines.splice(0, lines.length - MAX_LINES);
      dropped = true;
    }
  }

  const textOf = (line) => (line.plain ??= visible(line.parts.map(([text]) => text).join("")));
  const tail = () => (open ? [{ parts: pieces(overwritten(open).slice(0, MAX_LINE), { ...colours }) }] : []);

  let shownLines = [];
  const layOut = oncePerFrame(() => {
    shownLines = [...lines, ...tail()];
    visual = [];
    for (let i = 0; i < shownLines.length; i += 1) {
      const length = textOf(shownLines[i]).length;
      if (length <= columns) visual.push([i, 0, length]);
      else for (let from = 0; from < length; from += columns) visual.push([i, from, Math.min(length, from + columns)]);
    }
    find(false);
    view.setTotal(visual.length);
    if (following) box.scrollTop = box.scrollHeight;
    view.now();
    say();
  });

  function say() {
    earlier.hidden = start <= 0 || dropped;
    const parts = [];
    if (attempt > 1) parts.push(`attempt ${attempt}`);
    if (start > 0 || dropped) parts.push(`the last ${bytes(end - start)} of ${bytes(size)}`);
    else if (size) parts.push(bytes(size));
    if (!running && attempt) parts.push("ended");
    if (dropped) parts.push(`${number(MAX_LINES)} lines are kept`);
    if (notice) parts.push(notice);
    setText(info, parts.join(", "));
    follow.hidden = !running;
  }

  function draw(first, last) {
    const wanted = search.value.toLowerCase();
    const rows = [];
    for (let i = first; i < last; i += 1) {
      const [index, from, to] = visual[i];
      const row = el("div", { class: "l" });
      row.style.transform = `translateY(${i * LINE_HEIGHT}px)`;
      fillLine(row, shownLines[index], from, to, wanted, i);
      rows.push(row);
    }
    fill(host, rows);
  }

  function fillLine(row, line, from, to, wanted, visualIndex) {
    let at = 0;
    const whole = textOf(line);
    const marks = [];
    if (wanted) {
      const lower = whole.toLowerCase();
      for (let hit = lower.indexOf(wanted); hit >= 0 && marks.length < 200; hit = lower.indexOf(wanted, hit + wanted.length)) {
        marks.push([hit, hit + wanted.length]);
      }
    }
    const current = match >= 0 && matches[match]?.row === visualIndex ? matches[match].from : -1;
    for (const [text, classes] of line.parts) {
      const shown = visible(text);
      const a = Math.max(from, at), b = Math.min(to, at + shown.length);
      at += shown.length;
      if (b <= a) continue;
      const offset = at - shown.length;
      let cursor = a;
      for (const [x, y] of marks) {
        const p = Math.max(x, cursor), q = Math.min(y, b);
        if (q <= p) continue;
        if (p > cursor) row.append(span(shown.slice(cursor - offset, p - offset), classes));
        const mark = el("mark", { class: x === current ? "current" : null });
        mark.append(span(shown.slice(p - offset, q - offset), classes));
        row.append(mark);
        cursor = q;
      }
      if (cursor < b) row.append(span(shown.slice(cursor - offset, b - offset), classes));
    }
  }

  function span(text, classes) {
    const made = el("span", { class: classes || null });
    made.textContent = text;
    return made;
  }

  function find(jump) {
    const wanted = search.value.toLowerCase();
    matches = [];
    if (wanted) {
      for (let i = 0; i < visual.length && matches.length < 10_000; i += 1) {
        const [index, from, to] = visual[i];
        const lower = textOf(shownLines[index]).toLowerCase();
        for (let hit = lower.indexOf(wanted, from); hit >= 0 && hit < to; hit = lower.indexOf(wanted, hit + wanted.length)) {
          matches.push({ row: i, from: hit });
        }
      }
    }
    match = matches.length ? (jump ? firstFrom(view.first) : Math.min(Math.max(0, match), matches.length - 1)) : -1;
    sayFound();
    if (jump) {
      if (match >= 0) reveal();
      else view.now();
    }
  }

  const firstFrom = (row) => Math.max(0, matches.findIndex((each) => each.row >= row));

  function sayFound() {
    setText(found, search.value ? (matches.length ? `${match + 1} of ${number(matches.length)}${matches.length === 10_000 ? "+" : ""}` : "nothing found") : "");
  }

  function step(by) {
    if (!matches.length) return;
    match = (match + by + matches.length) % matches.length;
    sayFound();
    reveal();
  }

  function reveal() {
    setFollow(false);
    view.reveal(matches[match].row, LINE_HEIGHT, true);
  }

  async function readEarlier() {
    if (reading || start <= 0) return;
    reading = true;
    notice = "";
    const wanted = start;
    try {
      const piece = await get(`/api/output/${id}?attempt=${attempt}&before=${wanted}&limit=${PIECE * 4}`);
      // A snapshot that has come meanwhile may begin elsewhere, with these lines.
      if (piece.attempt !== attempt || start !== wanted) return;
      if (piece.end !== wanted) {
        // The page keeps the last part of what is being printed; its end is another one than was asked for.
        notice = "what was printed before can be read when the task has ended";
        say();
        return;
      }
      const rest = lines;
      const [wasOpen, wasColours] = [open, colours];
      lines = [];
      open = "";
      colours = plain();
      take(piece.text);
      // The last line of this piece continues in the first one of the rest.
      if (open && rest.length) {
        const first = rest.shift();
        addLine(open + first.parts.map(([text]) => text).join(""));
      } else if (open) addLine(open);
      const before = visual.length;
      lines = lines.concat(rest);
      [open, colours] = [wasOpen, wasColours];
      start = piece.start;
      size = Math.max(size, piece.size);
      setFollow(false);
      layOut();
      requestAnimationFrame(() => requestAnimationFrame(() => {
        box.scrollTop += (visual.length - before) * LINE_HEIGHT;
      }));
    } catch (error) {
      notice = error.message;
      say();
    } finally {
      reading = false;
    }
  }

  function reset(data) {
    lines = [];
    open = "";
    colours = plain();
    dropped = false;
    notice = "";
    ({ start, end, attempt, running } = data);
    size = data.size ?? end;
    take(data.text ?? "");
    layOut();
  }

  layOut();
  return {
    element,
    handler: {
      snapshot: reset,
      change(data) {
        if (data.text !== undefined) {
          if (data.start > end) take(`\n… ${bytes(data.start - end)} were left out here …\n`);
          take(data.text);
          end = data.end;
          size = Math.max(size, end);
        }
        if (data.running !== undefined) {
          running = data.running;
          notice = "";
        }
        layOut();
      },
      gone(data) {
        running = false;
        reset({ text: data.error ?? "", start: 0, end: 0, attempt: 0, running: false, size: 0 });
      },
    },
    close() {
      view.close();
      resized.disconnect();
    },
  };
}
