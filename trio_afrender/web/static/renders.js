/** All renders: states, load as live plots, what they run, since when they are idle or busy. */

import { get } from "./api.js";
import { makeTaskBar } from "./bars.js";
import { el, fill, outside, setText } from "./dom.js";
import { oncePerFrame, RowStore } from "./feed.js";
import { keepFilters, readFilters, readOrder, writeOrder } from "./filters.js";
import { count, longMoment, moment, now, number, span } from "./format.js";
import { stateChips, twoLines } from "./jobs.js";
import { makeChoice, makeSelection } from "./lists.js";
import { makePlot, sample, showPlot } from "./plots.js";
import { renderWord } from "./states.js";
import { makeToolbar } from "./steering.js";
import { Table, textCell } from "./table.js";

const STATES = {
  "": "All",
  busy: "Busy",
  idle: "Idle",
  closed: "Closed",
  offline: "Offline",
};
const USUAL = { key: "name", down: false };
const POINTS = 60; // of a plot
const SPACING = 10; // seconds between two of them, as the server keeps them
const MOST = 64; // renders whose past the server gives at once

/** Figure of the load -> [name, colour, top of the plot or null, text]. Net has no top of its own. */
export const FIGURES = {
  cpu: ["CPU", "cpu", 100, (value) => `${Math.round(value)}%`],
  mem: ["Memory", "mem", 100, (value) => `${Math.round(value)}%`],
  swap: ["Swap", "mem", 100, (value) => `${Math.round(value)}%`],
  gpu: ["GPU", "gpu", 100, (value) => `${Math.round(value)}%`],
  gpu_mem: ["GPU memory", "gpu", 100, (value) => `${Math.round(value)}%`],
  disk: ["Disk", "disk", 100, (value) => `${Math.round(value)}%`],
  net_in: ["Net in", "net", null, (value) => `${number(value)} MiB/s`],
  net_out: ["Net out", "net", null, (value) => `${number(value)} MiB/s`],
  space: ["Disk space", "disk", 100, (value) => `${Math.round(value)}%`],
};

/** Whether a render is in one of the states of the filter. */
function isIn(render, state) {
  const has = (word) => render.states.includes(word);
  if (state === "busy") return has("RUN");
  if (state === "idle") return has("ONL") && !has("RUN");
  if (state === "closed") return ["NbY", "NBY", "PAU", "SIC", "WFL"].some(has);
  if (state === "offline") return !has("ONL");
  return true;
}

/** Since when a render is busy or idle, as [state, time span, title]. */
export function since(render) {
  if (!render.states.includes("ONL")) return ["offline", "", ""];
  const start = Math.min(...render.tasks.map((task) => task.started).filter(Boolean));
  if (render.tasks.length) return Number.isFinite(start) ? ["busy", span(now() - start), longMoment(start)] : ["busy", "", ""];
  const idle = render.idle_since;
  if (idle && now() - idle > 2) return ["idle", span(now() - idle), longMoment(idle)];
  return ["idle", "", ""];
}

export function makeView(page) {
  const filters = readFilters(page, "renders", ["state", "q", "sort"]);
  const fields = page.session.load_fields ?? [];
  const at = Object.fromEntries(fields.map((name, i) => [name, i]));
  const items = new Map();
  const history = new Map(); // id -> [[time, ...figures], ...]
  const asked = new Set(); // renders whose past was asked for: those that were on the screen
  const wanted = [];
  let soon = 0;
  const renders = new RowStore((ids) => {
    for (const id of ids ?? renders.rows.keys()) {
      if (renders.rows.has(id)) combine(id);
      else for (const known of [items, history, asked]) known.delete(id);
    }
    if (ids === null) for (const id of items.keys()) if (!renders.rows.has(id)) items.delete(id);
    draw();
  });
  const loads = new RowStore((ids) => {
    if (ids === null) {
      // What was before this stream has a gap, or is that of another render with the id.
      history.clear();
      asked.clear();
    }
    for (const id of ids ?? loads.rows.keys()) {
      const load = loads.rows.get(id)?.load;
      if (load) {
        const list = history.get(id) ?? [];
        list.push([now(), ...load]);
        // The point before the first moment of the plot is its value there.
        while (list.length > 1 && list[1][0] < now() - POINTS * SPACING) list.shift();
        history.set(id, list);
      }
      if (items.has(id)) combine(id);
    }
    draw();
  });

  function combine(id) {
    items.set(id, { ...renders.rows.get(id), load: loads.rows.get(id)?.load ?? null, history: history.get(id) ?? [] });
  }

  /** Have the past of a render read, once. */
  function wantPast(id) {
    if (asked.has(id)) return;
    asked.add(id);
    wanted.push(id);
    soon ||= setTimeout(readPast, 100);
  }

  async function readPast() {
    const ids = wanted.splice(0, MOST);
    soon = wanted.length ? setTimeout(readPast, 100) : 0;
    // Without an answer the plots begin now.
    const { points } = await get(`/api/loads/${ids.join(",")}`).catch(() => ({ points: {} }));
    for (const id of ids) {
      const own = history.get(id) ?? [];
      const first = own[0]?.[0] ?? Infinity;
      history.set(id, [...(points[id] ?? []).filter(([time]) => time < first), ...own]);
      if (items.has(id)) combine(id);
    }
    draw();
  }

  const value = (render, name) => render.load?.[at[name]] ?? -1;
  const plotColumn = (key, names) => ({
    key, label: FIGURES[names[0]][0], number: true, value: (render) => value(render, names[0]), show: (cell, render) => showLoad(cell, render, names),
  });

  function showLoad(cell, render, names) {
    const name = names[0];
    let { plot } = cell;
    if (!plot) {
      plot = cell.plot = makePlot(FIGURES[name][1]);
      cell.append(plot.element);
    }
    const load = render.load?.[at[name]];
    const known = load !== null && load !== undefined;
    wantPast(render.id);
    const values = sample(render.history, (point) => names.reduce((sum, each) => sum + (point[at[each] + 1] ?? 0), 0),
      now(), SPACING, POINTS);
    const total = names.reduce((sum, each) => sum + (render.load?.[at[each]] ?? 0), 0);
    const top = FIGURES[name][2] ?? Math.max(1, ...values);
    showPlot(plot, known ? values : [], top, known ? (name === "net_in" ? number(total) : FIGURES[name][3](load)) : "");
  }

  const columns = [
    { key: "name", label: "Render", value: (render) => render.name, show: showName },
    { key: "state", label: "State", value: (render) => render.states.join(" "), show: (cell, render) =>
      fill(cell, stateChips(render.states, renderWord)) },
    { key: "since", label: "Since", tick: true, value: (render) => -(render.idle_since || 0), show: (cell, render) => {
      const [text, more, title] = since(render);
      twoLines(cell, text, more);
      cell.title = title;
    } },
    { key: "tasks", label: "Runs", value: (render) => -render.tasks.length, show: showTasks },
    { key: "capacity", label: "Capacity", number: true, value: (render) => render.capacity_used,
      show: textCell((render) => `${render.capacity_used} / ${render.capacity}`) },
    plotColumn("cpu", ["cpu"]), plotColumn("mem", ["mem"]), plotColumn("gpu", ["gpu"]), plotColumn("disk", ["disk"]),
    { ...plotColumn("net", ["net_in", "net_out"]), label: "Net MiB/s" },
    { key: "priority", label: "Priority", number: true, value: (render) => render.priority, show: textCell((render) => String(render.priority)) },
  ];
  const order = readOrder(filters.sort, USUAL, columns.map((column) => column.key));
  const table = new Table({
    label: "Renders", className: "renders", columns, scroller: page.scroller, order, idOf: (render) => render.id,
    keyOf: (render) => render.name, open: (render) => page.go(`/renders/${render.id}`), selectable: page.session.steer, onSelect: (selected) => selection.show(selected),
    onOrder: (to) => change({ sort: writeOrder(to, USUAL) }), empty: "No render fits these filters.",
  });
  const summary = el("p", { class: "summary" });
  const search = el("input", { type: "search", placeholder: "Find a render", "aria-label": "Find a render by its name, user, address or annotation",
    value: filters.q, on: { input: () => change({ q: search.value }) } });
  const states = makeChoice("State", STATES, (key) => change({ state: key }));
  const tools = makeToolbar("render", () => [...table.selected].map((id) => items.get(id)).filter(Boolean)
    .map((render) => ({ id: render.id, name: render.name })), { first: ["nimby", "NIMBY", "free", "pause"], label: "Change the selected renders" });
  const selection = makeSelection("render", tools, () => table.clearSelection());
  const element = el("div", { class: "view" },
    el("div", { class: "title" }, el("h1", { tabindex: "-1" }, "Renders"), summary),
    el("div", { class: "filters" }, search, states.element), selection.element, table.element);

  function change(changed) {
    Object.assign(filters, changed);
    keepFilters(page, "renders", filters);
    draw();
  }

  const draw = oncePerFrame(() => {
    const all = [...items.values()].filter((render) => !render.hidden);
    const wanted = filters.q.trim().toLowerCase();
    const others = all.filter((render) => !wanted || [render.name, render.user, render.address, render.annotation, render.os].some(
      (text) => String(text ?? "").toLowerCase().includes(wanted)));
    states.show(filters.state, (key) => others.filter((render) => isIn(render, key)).length);
    setText(table.empty, !renders.ready ? "The renders are being read …" : all.length ? "No render fits these filters." : "No render has registered yet.");
    table.setItems(others.filter((render) => isIn(render, filters.state)));
    const online = all.filter((render) => render.states.includes("ONL")).length;
    const busy = all.filter((render) => render.states.includes("RUN"));
    setText(summary, renders.ready
      ? `${count(all.length, "render")}, ${number(online)} online, ${number(busy.length)} busy with ${count(busy.reduce((sum, render) => sum + render.tasks.length, 0), "task")}` : "");
  });

  page.title("Renders");
  page.watch(new Map([["renders", renders], ["loads", loads]]));
  return {
    element,
    shown: () => table.setItems(table.items),
    tick: () => table.tick(),
    close() {
      clearTimeout(soon);
      table.close();
    },
  };
}

function showName(cell, render) {
  fill(cell, el("a", { href: `/renders/${render.id}`, class: "main", tabindex: "-1" }, outside(render.name, 120)),
    el("span", { class: "sub" }, outside(render.user, 40), render.annotation ? el("span", { class: "note" }, outside(render.annotation, 120)) : null));
}

function showTasks(cell, render) {
  const shown = render.tasks.slice(0, 2);
  fill(cell, shown.map((task) => taskLine(task)),
    render.tasks.length > shown.length ? el("span", { class: "sub" }, `and ${render.tasks.length - shown.length} more`) : null);
}

/** One running task of a render, with its bar. */
export function taskLine(task) {
  const percent = Math.max(0, task.percent);
  return el("span", { class: "runs" },
    makeTaskBar(percent, "running", task.percent < 0 ? "no percentage yet" : `${percent} %`),
    el("a", { href: `/jobs/${task.job}/${task.block}.${task.task}`, tabindex: "-1", title: task.started ? `since ${moment(task.started)}` : null },
      outside(task.name, 60), el("span", { class: "muted" }, " ", outside(task.job_name, 60))));
}
