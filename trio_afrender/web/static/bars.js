/** Progress bars of the farm's kind: a piece for each run of tasks in the same state. */

import { differs, el } from "./dom.js";
import { KINDS, runs } from "./states.js";

/** Make a bar, to be filled by `showBar`. */
export function makeBar() {
  return el("div", { class: "bar", role: "img", "aria-label": "no progress known yet" });
}

/** Fill a bar from blocks (their `bar` letters, weighted by their tasks) with a text for readers. */
export function showBar(bar, blocks, text) {
  const key = blocks.map((block) => `${block.tasks}${block.bar}`).join("|");
  if (differs(bar, key)) {
    bar.replaceChildren(...blocks.filter((block) => block.tasks).map(makePart));
  }
  if (bar.getAttribute("aria-label") !== text) bar.setAttribute("aria-label", text);
}

function makePart(block) {
  const part = el("span", { class: "part" });
  part.style.flexGrow = String(block.tasks);
  for (const [kind, length] of runs(block.bar)) {
    const piece = el("span", { class: `k-${kind}` });
    piece.style.flexGrow = String(length);
    part.append(piece);
  }
  return part;
}

/** What a bar shows, as a text: `29 %: 2 done, 2 running, 9 waiting`. */
export function barText(node) {
  const parts = [];
  const done = node.done - node.skipped;
  for (const [n, name] of [[done, "done"], [node.running, "running"], [node.error, "failed"],
    [node.skipped, "skipped"], [node.tasks - node.done - node.running - node.error, "waiting"]]) {
    if (n > 0) parts.push(`${n} ${name}`);
  }
  return `${Math.floor(node.percent)} %: ${parts.join(", ") || "no tasks"}`;
}

/** A bar of one task. */
export function makeTaskBar(percent, kind = "running", text = "") {
  const piece = el("span", { class: `k-${kind}` });
  const bar = el("span", { class: "bar thin", role: "img", "aria-label": text || `${Math.max(0, percent)} %` }, piece);
  piece.style.flexBasis = `${Math.min(100, Math.max(0, percent))}%`;
  return bar;
}

/** The legend of the colours. */
export function makeLegend() {
  return el("ul", { class: "legend" }, Object.entries(KINDS).map(([kind, text]) =>
    el("li", null, el("span", { class: `dot k-${kind}`, "aria-hidden": "true" }), text)));
}
