/** The farm as a whole: its pools and its users. */

import { el, fill, outside } from "./dom.js";
import { oncePerFrame, RowStore } from "./feed.js";
import { count, number } from "./format.js";
import { makeSettings, makeToolbar } from "./steering.js";

export function makeView(page) {
  const users = new RowStore(() => draw());
  const pools = new RowStore(() => draw());
  const jobs = new RowStore(() => draw());
  const renders = new RowStore(() => draw());
  const userBox = el("div", { class: "nodes" });
  const poolBox = el("div", { class: "nodes" });
  const overview = el("dl", { class: "facts big" });
  const cards = new Map();
  const element = el("div", { class: "view" },
    el("div", { class: "title" }, el("h1", { tabindex: "-1" }, "Farm")),
    overview,
    el("section", { class: "panel" }, el("h2", null, "Pools"), poolBox),
    el("section", { class: "panel" }, el("h2", null, "Users"), userBox));

  function card(kind, row) {
    const key = `${kind} ${row.id} ${row.name}`; // ids may be used again
    let made = cards.get(key);
    if (!made) {
      made = makeCard(kind, row.id);
      cards.set(key, made);
    }
    made.show(row);
    return made.element;
  }

  function makeCard(kind, id) {
    let row = null;
    const name = el("strong");
    const facts = el("span", { class: "sub" });
    const node = () => ({ id, name: row.name });
    const settings = makeSettings(kind, node, () => row ?? {});
    const box = el("details", { class: "inline" }, el("summary", null, "Parameters"), settings.element);
    box.addEventListener("toggle", () => box.open && settings.read());
    const made = el("div", { class: "node" }, el("div", { class: "nodename" }, name, facts),
      makeToolbar(kind, () => [node()], { first: ["pause", "start"], label: `Change this ${kind}`, small: true }),
      page.session.steer ? box : null);
    return {
      element: made,
      show(now) {
        if (row === now) return;
        row = now;
        fill(name, outside(row.name, 120), row.paused ? el("span", { class: "chip c-paused" }, "paused") : null);
        const list = [`priority ${row.priority}`];
        if (row.jobs !== undefined) list.push(count(row.jobs, "job"));
        if (row.renders !== undefined) list.push(count(row.renders, "render"));
        if (row.annotation) list.push(row.annotation);
        fill(facts, outside(list.join(" · "), 300));
        settings.update();
      },
    };
  }

  function place(target, kind, rows, text) {
    const elements = rows.map((row) => card(kind, row));
    const shown = new Set(elements);
    for (const [key, made] of cards) if (key.startsWith(`${kind} `) && !shown.has(made.element)) cards.delete(key);
    if (!elements.length) fill(target, el("p", { class: "muted" }, text));
    else if (elements.length !== target.childElementCount || elements.some((each, i) => target.children[i] !== each)) fill(target, elements);
  }

  const draw = oncePerFrame(() => {
    place(poolBox, "pool", [...pools.rows.values()], pools.ready ? "There is no pool." : "The pools are being read …");
    place(userBox, "user", [...users.rows.values()].sort((a, b) => a.name.localeCompare(b.name)), users.ready ? "There are no users yet." : "The users are being read …");
    const has = (word) => [...renders.rows.values()].filter((row) => row.states.includes(word)).length;
    const sum = (key) => [...jobs.rows.values()].reduce((total, job) => total + (job[key] ?? 0), 0);
    fill(overview, [
      ["Renders online", `${number(has("ONL"))} of ${number(renders.rows.size)}`], ["Busy", number(has("RUN"))],
      ["Jobs", number(jobs.rows.size)], ["Running tasks", number(sum("running"))], ["Ready tasks", number(sum("ready"))],
      ["Failed tasks", number(sum("error"))],
    ].map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, text))));
  });

  page.title("Farm");
  page.watch(new Map([["users", users], ["pools", pools], ["jobs", jobs], ["renders", renders]]));
  return { element };
}
