/** All jobs: how far they are, when they end, what fails, and why nothing runs. */

import { barText, makeBar, showBar } from "./bars.js";
import { differs, el, fill, outside, setText, short } from "./dom.js";
import { oncePerFrame, RowStore } from "./feed.js";
import { keepFilters, readFilters, readOrder, writeOrder } from "./filters.js";
import { count, longMoment, moment, now, number, span } from "./format.js";
import { makeChoice, makeSelection } from "./lists.js";
import { taskWord } from "./states.js";
import { makeToolbar } from "./steering.js";
import { Table, textCell } from "./table.js";
import { makeWhy } from "./why.js";

const STATES = {
  "": "All",
  running: "Running",
  waiting: "Waiting",
  failed: "Failed",
  paused: "Paused",
  done: "Done",
};
const USUAL = { key: "order", down: false };

/** Whether a job is in one of the states of the filter. */
function isIn(job, state) {
  const has = (word) => job.states.includes(word);
  if (state === "running") return has("RUN");
  if (state === "failed") return has("ERR");
  if (state === "paused") return has("OFF");
  if (state === "done") return has("DON");
  if (state === "waiting") return !has("RUN") && !has("DON") && !has("OFF");
  return true;
}

/** The chips of the states of a node. */
export function stateChips(states, wordOf = taskWord) {
  return states.map((word) => {
    const [kind, meaning] = wordOf(word);
    return el("span", { class: `chip c-${kind}`, title: meaning }, el("abbr", { title: meaning }, word));
  });
}

/** When a job ends, as [text, more, title]. */
export function endOf(job) {
  if (job.states.includes("DON") && job.finished) return [moment(job.finished), "ended", longMoment(job.finished)];
  if (job.ends) return [moment(job.ends), `in ${span(job.ends - now())}`, `expected end: ${longMoment(job.ends)}`];
  if (job.waits) return [moment(job.waits), "waits until", longMoment(job.waits)];
  return ["", "", ""];
}

export function makeView(page) {
  const filters = readFilters(page, "jobs", ["state", "user", "q", "sort", "hidden"]);
  const order = readOrder(filters.sort, USUAL, ["order", "name", "progress", "end", "speed", "errors", "priority", "age"]);
  const places = new Map();
  let nextPlace = 0;
  const store = new RowStore((ids) => {
    if (ids === null) places.clear();
    for (const id of ids ?? store.rows.keys()) {
      if (!store.rows.has(id)) places.delete(id); // the next job with this id comes last
      else if (!places.has(id)) places.set(id, nextPlace++);
    }
    draw();
  });
  const columns = [
    { key: "order", label: "State", title: "Sort by the order of the farm", value: (job) => places.get(job.id),
      show: (cell, job) => fill(cell, stateChips(job.states)) },
    { key: "name", label: "Job", value: (job) => job.name, show: showName },
    { key: "progress", label: "Progress", value: (job) => job.percent, show: showProgress },
    { key: "end", label: "Expected end", value: (job) => job.ends || job.finished || Infinity, tick: true, show: (cell, job) => {
      const [text, more, title] = endOf(job);
      twoLines(cell, text, more);
      cell.title = title;
    } },
    { key: "speed", label: "Frames/min", number: true, value: (job) => job.frames_per_minute ?? -1,
      show: textCell((job) => (job.frames_per_minute ? number(job.frames_per_minute) : "")) },
    { key: "errors", label: "Errors", number: true, value: (job) => job.error, show: (cell, job) => {
      setText(cell, job.error ? number(job.error) : "");
      cell.classList.toggle("bad", job.error > 0);
    } },
    { key: "priority", label: "Priority", number: true, value: (job) => job.priority, show: textCell((job) => String(job.priority)) },
    { key: "age", label: "Age", number: true, tick: true, value: (job) => -job.created, show: (cell, job) => {
      setText(cell, job.created ? span(now() - job.created) : "");
      cell.title = longMoment(job.created);
    } },
  ];
  const table = new Table({
    label: "Jobs", className: "jobs", columns, scroller: page.scroller, order, idOf: (job) => job.id,
    keyOf: (job) => job.serial, open: (job) => page.go(`/jobs/${job.id}`), selectable: page.session.steer, onSelect: (selected) => selection.show(selected),
    onOrder: (to) => change({ sort: writeOrder(to, USUAL) }),
    empty: "No job fits these filters.",
  });

  const summary = el("p", { class: "summary" });
  const search = el("input", { type: "search", placeholder: "Find a job", "aria-label": "Find a job by its name, user or annotation",
    value: filters.q, on: { input: () => change({ q: search.value }) } });
  const user = el("select", { "aria-label": "User", on: { change: () => change({ user: user.value }) } });
  const states = makeChoice("State", STATES, (key) => change({ state: key }));
  const hidden = el("input", { type: "checkbox", on: { change: () => change({ hidden: hidden.checked ? "1" : "" }) } });
  hidden.checked = filters.hidden === "1";
  const tools = makeToolbar("job", nodes, { first: ["pause", "start", "retry"], label: "Change the selected jobs" });
  const selection = makeSelection("job", tools, () => table.clearSelection());
  const why = makeWhy({ job: null });
  const whyBox = el("details", { class: "panel why" }, el("summary", null, "Why does nothing run?"), why.element);
  whyBox.open = new URLSearchParams(location.search).get("why") === "1";
  whyBox.addEventListener("toggle", () => {
    page.setQuery({ why: whyBox.open ? "1" : "" });
    watch();
  });
  const element = el("div", { class: "view" },
    el("div", { class: "title" }, el("h1", { tabindex: "-1" }, "Jobs"), summary),
    el("div", { class: "filters" }, search, states.element, user,
      el("label", { class: "check" }, hidden, "hidden jobs too")),
    selection.element, table.element, whyBox);

  function nodes() {
    return [...table.selected].map((id) => store.rows.get(id)).filter(Boolean)
      .map((job) => ({ id: job.id, serial: job.serial }));
  }

  function change(changed) {
    Object.assign(filters, changed);
    keepFilters(page, "jobs", filters);
    draw();
  }

  function showUsers(jobs) {
    const names = [...new Set(jobs.map((job) => job.user))].sort((a, b) => a.localeCompare(b));
    if (filters.user && !names.includes(filters.user)) names.push(filters.user);
    const key = names.join("\n");
    if (differs(user, key)) {
      fill(user, el("option", { value: "" }, "All users"), names.map((name) => el("option", { value: name }, short(name, 60))));
    }
    user.value = filters.user;
  }

  const draw = oncePerFrame(() => {
    const jobs = [...store.rows.values()].filter((job) => filters.hidden === "1" || !job.hidden);
    const wanted = filters.q.trim().toLowerCase();
    const others = jobs.filter((job) => (!filters.user || job.user === filters.user)
      && (!wanted || [job.name, job.user, job.annotation, job.description, String(job.id)].some(
        (text) => String(text ?? "").toLowerCase().includes(wanted))));
    showUsers(jobs);
    states.show(filters.state, (key) => others.filter((job) => isIn(job, key)).length);
    const shown = others.filter((job) => isIn(job, filters.state));
    table.empty.textContent = !store.ready ? "The jobs are being read …"
      : store.rows.size ? "No job fits these filters." : "There are no jobs on this farm yet.";
    table.setItems(shown);
    const running = jobs.reduce((sum, job) => sum + job.running, 0);
    const errors = jobs.reduce((sum, job) => sum + job.error, 0);
    setText(summary, store.ready
      ? `${count(jobs.length, "job")}, ${count(running, "running task")}${errors ? `, ${count(errors, "failed task")}` : ""}` : "");
  });

  function watch() {
    const topics = new Map([["jobs", store]]);
    if (whyBox.open) topics.set("why", why.handler);
    page.watch(topics);
  }

  page.title("Jobs");
  watch();
  return {
    element,
    shown: () => table.setItems(table.items),
    tick: () => table.tick(),
    close: () => table.close(),
  };
}

/** Fill a cell with a line and a smaller one below it. */
export function twoLines(cell, text, more) {
  if (!cell.firstChild) cell.append(el("span", { class: "one" }), el("span", { class: "sub" }));
  setText(cell.firstChild, text);
  setText(cell.lastChild, more);
}

function showName(cell, job) {
  const more = [job.user, job.annotation || job.description].filter(Boolean);
  fill(cell,
    el("a", { href: `/jobs/${job.id}`, class: "main", tabindex: "-1" }, outside(job.name, 160)),
    el("span", { class: "sub" }, outside(more[0] ?? "", 40),
      more[1] ? el("span", { class: "note" }, outside(more[1], 120)) : null));
}

function showProgress(cell, job) {
  let bar = cell.querySelector(".bar");
  if (!bar) {
    bar = makeBar();
    fill(cell, bar, el("span", { class: "sub" }));
  }
  showBar(bar, [{ tasks: job.tasks, bar: job.bar }], barText(job));
  const parts = [`${Math.floor(job.percent)} %`, `${number(job.done)} of ${number(job.tasks)}`];
  if (job.running) parts.push(`${number(job.running)} running`);
  setText(cell.lastElementChild, parts.join(" · "));
}
