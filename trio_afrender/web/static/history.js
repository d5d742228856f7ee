/** Who did what on this page, with a way back where there is one. */

import { button, el, fill, outside } from "./dom.js";
import { oncePerFrame, RowStore } from "./feed.js";
import { longMoment, moment } from "./format.js";
import { undoChange } from "./steering.js";

export function makeView(page) {
  const store = new RowStore(() => draw());
  const list = el("ol", { class: "history", "aria-label": "Changes, newest first" });
  const element = el("div", { class: "view" },
    el("div", { class: "title" }, el("h1", { tabindex: "-1" }, "Who did what"),
      el("p", { class: "summary" }, "Changes that were made on this page, newest first.")), list);

  const draw = oncePerFrame(() => {
    const rows = [...store.rows.values()].sort((a, b) => b.time - a.time || b.id - a.id);
    if (!rows.length) {
      fill(list, el("li", { class: "empty" }, store.ready ? "Nothing was changed yet." : "The log is being read …"));
      return;
    }
    fill(list, rows.map((row) => el("li", null,
      el("time", { title: longMoment(row.time) }, moment(row.time)),
      el("span", { class: "who" }, outside(row.who, 60), row.address ? el("span", { class: "muted" }, " ", outside(row.address, 60)) : null),
      el("span", { class: "did" }, outside(row.text, 500),
        (row.problems ?? []).slice(0, 5).map((each) => el("span", { class: "problem" }, outside(each, 300)))),
      row.undone ? el("span", { class: "chip soft" }, "undone")
        : row.undo && page.session.steer ? button("Undo", () => undoChange(row.id), { class: "act", title: row.undo }) : null)));
  });

  page.title("Log");
  page.watch(new Map([["log", store]]));
  return { element };
}
