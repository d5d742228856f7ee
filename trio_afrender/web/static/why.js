/** Why nothing runs: sentences for each block that waits. */

import { el, fill, outside } from "./dom.js";
import { count } from "./format.js";

/** Make the panel. `handler` takes the topics "why" and "why.JOB". */
export function makeWhy({ job }) {
  const element = el("div", { class: "sentences", "aria-live": "off" }, el("p", { class: "muted" }, "The reasons are being read …"));

  function show(data) {
    const jobs = data.jobs ?? [];
    const waiting = jobs.filter((each) => each.blocks?.length);
    if (!waiting.length) {
      fill(element, el("p", { class: "muted" }, data.idle || "Nothing waits."));
      return;
    }
    fill(element, waiting.map((each) => el("section", null,
      job === null ? el("h2", null, el("a", { href: `/jobs/${each.id}` }, outside(each.name, 120)), " ",
        el("span", { class: "muted" }, outside(each.user, 40))) : null,
      each.blocks.map((block) => el("div", { class: "wait" },
        el("h3", null, "Block ", outside(block.name, 80), el("span", { class: "muted" }, ` ${count(block.tasks, "waiting task")}, from `),
          el("a", { href: `/jobs/${each.id}/${block.block}.${block.task}` }, `${each.id}.${block.block}.${block.task}`)),
        el("ul", null, block.sentences.slice(0, 50).map((text) => el("li", null, outside(text, 600)))))))),
    data.more ? el("p", { class: "muted" }, `${count(data.more, "more job")} wait${data.more === 1 ? "s" : ""}.`) : null);
  }

  return {
    element,
    handler: { snapshot: show, change: show, gone: (data) => fill(element, el("p", { class: "muted" }, data.error)) },
  };
}
