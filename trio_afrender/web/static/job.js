/** One job: its progress, its blocks, all its frames as cells, rows or pictures, and one frame in detail. */

import { get } from "./api.js";
import { barText, makeBar, makeLegend, showBar } from "./bars.js";
import { button, differs, el, fill, icon, makeLines, outside, setText, short } from "./dom.js";
import { oncePerFrame, RowStore } from "./feed.js";
import { keepFilters, readFilters } from "./filters.js";
import { count, longMoment, moment, now, number, span } from "./format.js";
import { FrameGrid } from "./grid.js";
import { endOf, stateChips } from "./jobs.js";
import { ContactSheet } from "./sheet.js";
import { KINDS } from "./states.js";
import { makeSettings, makeToolbar } from "./steering.js";
import { Table, textCell } from "./table.js";
import { makeTaskDetail } from "./task.js";
import { TaskStore } from "./tasks.js";
import { makeWhy } from "./why.js";

const SORTS = {
  "": ["Order", null],
  state: ["State", (task) => Object.keys(KINDS).indexOf(task.kind)],
  time: ["Longest first", (task) => -task.seconds],
  errors: ["Most errors first", (task) => -task.errors],
  percent: ["Percent", (task) => task.percent],
  changed: ["Last changed first", (task) => -task.changed],
  render: ["Render", (task) => task.render],
};
const NAMES = ["state", "block", "q", "sort", "as", "size"];

export function makeView(page, names) {
  const id = Number(names.job);
  const filters = readFilters(page, "frames", NAMES.filter((name) => name === "as" || name === "size"));
  const query = new URLSearchParams(location.search);
  for (const name of NAMES) filters[name] ??= query.get(name) ?? "";
  let part = "";
  let detail = null;
  let row = null;
  let again = 0;
  let early = true; // whether a refusal of the tasks may only mean that the server did not know the job yet

  const jobs = new RowStore((ids) => {
    if (ids === null || ids.includes(id)) {
      row = jobs.rows.get(id) ?? null;
      askAgain();
      drawHead();
    }
  });
  const blocks = new RowStore(() => drawBlocks());
  blocks.gone = (data) => tasks.gone(data);
  const tasks = new TaskStore(id, () => {
    drawFrames();
    drawImage();
    if (tasks.error || toolLine.hidden) drawHead();
    if (tasks.error && row && early) {
      early = false; // once: a refusal of another kind would come each time
      askAgain();
    }
  });

  /** For a job that was submitted a moment ago, whose list of tasks was asked for too early. */
  function askAgain() {
    if (!row || !tasks.error) return;
    clearTimeout(again);
    again = setTimeout(() => {
      if (!row || !tasks.error) return;
      tasks.error = "";
      page.feed.reopen();
    }, 1000);
  }

  // The head
  const title = el("h1", { tabindex: "-1" });
  const chips = el("span", { class: "chips" });
  const facts = el("dl", { class: "facts" });
  const bar = makeBar();
  bar.classList.add("large");
  const barLine = el("p", { class: "summary" });
  const image = el("img", { class: "last", alt: "", hidden: true });
  const imageLink = el("a", { class: "lastlink", hidden: true }, image, el("span", { class: "sub" }));
  const bell = button("", () => row && page.notifier.toggle(row), { class: "act bell", "aria-pressed": "false" });
  fill(bell, icon("bell"), "Notify me");
  bell.title = "Notify me when this job ends or fails";
  const serial = () => tasks.serial ?? row?.serial ?? null;
  const tools = makeToolbar("job", () => [{ id, serial: serial() }],
    { first: ["pause", "start", "stop", "retry"], label: "Change this job" });
  const toolLine = el("div", { class: "toolline", hidden: true }, tools, bell);
  const head = el("div", { class: "jobhead" },
    el("div", { class: "what" },
      el("a", { href: "/jobs", class: "back" }, icon("back"), "Jobs"),
      el("div", { class: "title" }, title, chips),
      bar, barLine, facts,
      toolLine),
    imageLink);

  // Blocks
  const blockList = el("div", { class: "blocks", role: "list", "aria-label": "Blocks" });
  const blockElements = new Map();

  // Frames
  const search = el("input", { type: "search", placeholder: "Find a frame or a render", "aria-label": "Find a frame or a render",
    value: filters.q, on: { input: () => change({ q: search.value }) } });
  const states = el("div", { class: "choice kinds", role: "group", "aria-label": "State" });
  const block = el("select", { "aria-label": "Block", on: { change: () => change({ block: block.value }) } });
  const sort = el("select", { "aria-label": "Order of the frames", on: { change: () => change({ sort: sort.value }) } },
    Object.entries(SORTS).map(([key, [text]]) => el("option", { value: key }, text)));
  sort.value = filters.sort;
  const shapes = el("div", { class: "choice", role: "group", "aria-label": "Show as" },
    [["", "Cells", "grid"], ["table", "Table", "table"], ["sheet", "Pictures", "image"]].map(([key, text, image_]) =>
      el("button", { type: "button", data: { key }, on: { click: () => change({ as: key }) } }, icon(image_), text)));
  const sizes = el("select", { "aria-label": "Size of the cells", on: { change: () => change({ size: sizes.value }) } },
    el("option", { value: "" }, "Automatic size"), ["small", "medium", "large"].map((each) => el("option", { value: each }, each)));
  sizes.value = filters.size;
  const frameCount = el("p", { class: "summary", role: "status" });
  const frameTools = makeToolbar("task", chosenNodes, { first: ["retry", "skip"], label: "Change these frames", small: true });
  const framesLine = el("div", { class: "frameline" }, frameCount,
    page.session.steer ? el("span", { class: "muted" }, "Change all of these:") : null, frameTools);
  const grid = new FrameGrid({ scroller: page.scroller, label: "Frames", open: openTask,
    moved: (task) => detail && openTask(task, true) });
  let table = null;
  let sheet = null;
  const shape = el("div", { class: "shape" });
  const legend = makeLegend();
  const frames = el("section", { class: "frames", "aria-label": "Frames" },
    el("div", { class: "filters" }, search, block, states, sort, shapes, sizes), framesLine, shape, legend);

  const tabs = el("nav", { class: "subtabs", "aria-label": "Of this job" });
  const body = el("div", { class: "jobbody" });
  const side = el("aside", { class: "side", "aria-label": "One frame", hidden: true });
  const element = el("div", { class: "view job" }, head, blockList, tabs, el("div", { class: "split" }, body, side));
  const why = makeWhy({ job: id });
  const logLines = makeLines("Log of the job");
  const settings = makeSettings("job", () => ({ id, serial: serial() }), known);
  const stopListening = page.notifier.listen(drawHead);

  function known() {
    return row ? { priority: row.priority, annotation: row.annotation, description: row.description, hidden: row.hidden, user_name: row.user } : {};
  }

  function change(changed) {
    Object.assign(filters, changed);
    const { as, size, ...rest } = filters;
    keepFilters(page, "frames", { as, size });
    page.setQuery(rest);
    drawFrames();
  }

  function drawHead() {
    const name = row?.name ?? tasks.name ?? `job ${id}`;
    page.title(name);
    if (differs(title, name)) {
      fill(title, outside(name, 120));
      title.title = short(name, 1000);
    }
    fill(chips, row ? stateChips(row.states) : null);
    // What cannot be named for sure cannot be changed.
    toolLine.hidden = serial() === null || Boolean(tasks.error);
    if (tasks.error && differs(facts, tasks.error)) fill(facts, el("div", { class: "gone" }, el("dd", null, tasks.error)));
    bell.setAttribute("aria-pressed", String(row ? page.notifier.wants(row) : false));
    if (!row) return;
    showBar(bar, [{ tasks: row.tasks, bar: row.bar }], barText(row));
    setText(barLine, `${barText(row)} of ${count(row.tasks, "task")}`);
    drawFacts();
    drawImage();
    if (part === "settings") settings.update();
  }

  function drawFacts() {
    if (!row || tasks.error) return;
    const [end, more, endTitle] = endOf(row);
    const took = row.started ? (row.finished || now()) - row.started : 0;
    const list = [
      [row.states.includes("DON") ? "Ended" : "Expected end", end ? [end, more === "ended" ? "" : more].filter(Boolean).join(", ") : "unknown", endTitle],
      ["Speed", row.frames_per_minute ? `${number(row.frames_per_minute)} frames/min` : "", ""],
      ["Took", took ? span(took) : "", row.started ? `started: ${longMoment(row.started)}` : ""],
      ["Errors", row.error ? count(row.error, "failed task") : "", row.error_hosts ? `${row.error_hosts} renders with errors` : ""],
      ["User", short(row.user, 60), ""],
      ["Priority", String(row.priority), ""],
      ["Created", moment(row.created), longMoment(row.created)],
      ["Project", [row.project, row.department].filter(Boolean).map((each) => short(each, 60)).join(", "), ""],
      ["Note", row.annotation || "", ""],
      ["Description", row.description || "", ""],
    ].filter(([, text]) => text);
    const key = JSON.stringify(list);
    if (!differs(facts, key)) return;
    fill(facts, list.map(([name, text, hint]) => el("div", { title: hint || null, class: name === "Errors" ? "bad" : null },
      el("dt", null, name), el("dd", null, outside(text, 400)))));
  }

  let shownImage = "";
  function drawImage() {
    // The farm names the task with the newest image.
    const task = row?.thumbnail ? tasks.tasks.get(row.thumbnail.split(".").slice(1).join(".")) : null;
    if (!task || task.image === shownImage) return;
    shownImage = task.image;
    const next = new Image();
    next.onload = () => {
      image.src = next.src;
      image.alt = `Last image: ${short(task.name, 80)}`;
      image.hidden = imageLink.hidden = false;
      imageLink.href = `/jobs/${id}/${task.key}`;
      fill(imageLink.lastElementChild, outside(task.name, 60));
    };
    next.src = shownImage;
  }

  function drawBlocks() {
    const rows = [...blocks.rows.values()].sort((a, b) => a.id - b.id);
    for (const [key, each] of blockElements) {
      if (!blocks.rows.has(key)) {
        each.element.remove();
        blockElements.delete(key);
      }
    }
    for (const each of rows) {
      let made = blockElements.get(each.id);
      if (!made) {
        made = makeBlock(each.id);
        blockElements.set(each.id, made);
        blockList.append(made.element);
      }
      made.show(each);
    }
    blockList.hidden = rows.length === 0;
  }

  function makeBlock(blockId) {
    const name = el("strong");
    const info = el("span", { class: "sub" });
    const states_ = el("span", { class: "chips" });
    const line = makeBar();
    const numbers = el("span", { class: "numbers" });
    const settingsBox = el("details", { class: "inline" }, el("summary", null, "Parameters"));
    let made = null;
    settingsBox.addEventListener("toggle", () => {
      if (!settingsBox.open) return;
      made ??= makeSettings("block", () => ({ id: `${id}.${blockId}`, serial: serial() }), () => ({}));
      if (!made.element.isConnected) settingsBox.append(made.element);
      made.read();
    });
    const blockTools = makeToolbar("block", () => [{ id: `${id}.${blockId}`, serial: serial() }],
      { first: ["retry"], label: "Change this block", small: true });
    const made_ = el("div", { class: "jobblock", role: "listitem" },
      el("div", { class: "blockname" }, el("div", null, name, states_), info),
      el("div", { class: "blockbar" }, line, numbers), blockTools, page.session.steer ? settingsBox : null);
    return {
      element: made_,
      show(each) {
        fill(name, outside(each.name, 120));
        fill(states_, stateChips(each.states));
        const details = [each.service];
        if (each.depends) details.push(each.depends);
        if (each.avoided_hosts) details.push(`avoids ${count(each.avoided_hosts, "render")}`);
        fill(info, outside(details.join(" · "), 300));
        showBar(line, [{ tasks: each.tasks, bar: each.bar }], barText(each));
        const average = each.done && each.seconds ? ` · ${span(each.seconds / each.done)} each` : "";
        setText(numbers, `${Math.floor(each.percent)} % · ${number(each.done)} of ${number(each.tasks)}${each.error ? ` · ${number(each.error)} failed` : ""}${average}`);
      },
    };
  }

  function openTask(task, quiet = false) {
    grid.setCurrent(task.key);
    clearTimeout(openTask.timer);
    // Moving through cells by keys opens a detail where one stops.
    openTask.timer = setTimeout(() => page.go(`/jobs/${id}/${task.key}${location.search}`, { replace: quiet }), quiet ? 250 : 0);
  }

  function chosenNodes() {
    if (table && filters.as === "table" && table.selected.size) {
      return [...table.selected].map((key) => tasks.tasks.get(key)).filter(Boolean).map((task) => tasks.node(task));
    }
    return shownTasks().map((task) => tasks.node(task));
  }

  function fitting() {
    const wanted = filters.q.trim().toLowerCase();
    return [...tasks.tasks.values()].filter((task) => (filters.block === "" || String(task.block) === filters.block)
      && (!wanted || task.name.toLowerCase().includes(wanted) || task.render.toLowerCase().includes(wanted) || task.key === wanted));
  }

  function shownTasks() {
    const found = fitting().filter((task) => !filters.state || task.kind === filters.state);
    const by = SORTS[filters.sort]?.[1];
    if (!by) return found;
    return found.map((task) => [by(task), task])
      .sort(([a, x], [b, y]) => (a === b ? x.block - y.block || x.task - y.task : a < b ? -1 : 1)).map(([, task]) => task);
  }

  function drawKinds(found) {
    const counts = {};
    for (const task of found) counts[task.kind] = (counts[task.kind] ?? 0) + 1;
    if (!states.childElementCount) {
      fill(states, el("button", { type: "button", data: { key: "" }, on: { click: () => change({ state: "" }) } }, "All"),
        Object.entries(KINDS).map(([key, text]) => el("button", { type: "button", data: { key }, on: { click: () => change({ state: key }) } },
          el("span", { class: `dot k-${key}`, "aria-hidden": "true" }), text, el("span", { class: "n" }))));
    }
    for (const each of states.children) {
      const key = each.dataset.key;
      each.setAttribute("aria-pressed", String(key === filters.state));
      if (!key) continue;
      each.hidden = !counts[key] && key !== filters.state;
      setText(each.lastElementChild, number(counts[key] ?? 0));
    }
  }

  function drawBlockChoice() {
    const list = [...tasks.blocks.values()];
    const key = list.map((each) => each.name).join("\n");
    if (!differs(block, key)) return;
    fill(block, el("option", { value: "" }, "All blocks"), list.map((each) => el("option", { value: String(each.block) }, short(each.name, 60))));
    block.value = filters.block;
    block.hidden = list.length < 2;
  }

  const drawFrames = oncePerFrame(() => {
    if (part && part !== "sheet") return;
    drawBlockChoice();
    const found = fitting();
    drawKinds(found);
    const shown = shownTasks();
    const as = part === "sheet" ? "sheet" : filters.as;
    for (const each of shapes.children) each.setAttribute("aria-pressed", String(each.dataset.key === as));
    sizes.hidden = as !== "";
    sort.hidden = as === "table";
    setText(frameCount, tasks.ready
      ? shown.length === tasks.tasks.size ? count(shown.length, "frame") : `${number(shown.length)} of ${count(tasks.tasks.size, "frame")}` : "The frames are being read …");
    legend.hidden = as !== "";
    if (as === "table") {
      table ??= makeTaskTable();
      if (shape.firstChild !== table.element) fill(shape, table.element);
      table.setItems(shown);
    } else if (as === "sheet") {
      sheet ??= new ContactSheet({ page, open: openTask });
      if (shape.firstChild !== sheet.element) fill(shape, sheet.element);
      sheet.setTasks(shown);
    } else {
      if (shape.firstChild !== grid.element) fill(shape, grid.element);
      grid.setSize(filters.size || (shown.length > 1500 ? "small" : shown.length > 240 ? "medium" : "large"));
      grid.setItems(shown);
    }
  });

  function makeTaskTable() {
    const usual = { key: "frame", down: false };
    return new Table({
      label: "Frames", className: "tasks", scroller: page.scroller, idOf: (task) => task.key, keyOf: () => tasks.serial, order: usual,
      selectable: page.session.steer, open: (task) => openTask(task),
      onSelect: (selected) => setText(frameCount, selected.size ? `${count(selected.size, "frame")} selected` : ""),
      columns: [
        { key: "frame", label: "Frame", value: (task) => task.block * 1e7 + task.task, show: (cell, task) =>
          fill(cell, el("a", { href: `/jobs/${task.id.replace(".", "/")}`, tabindex: "-1", class: "main" }, outside(task.name, 100))) },
        { key: "state", label: "State", value: (task) => task.kind, show: (cell, task) => fill(cell, stateChips(task.states)) },
        { key: "percent", label: "Percent", number: true, value: (task) => task.percent, show: textCell((task) => (task.starts ? `${task.percent} %` : "")) },
        { key: "render", label: "Render", value: (task) => task.render, show: (cell, task) => fill(cell, outside(task.render, 80)) },
        { key: "time", label: "Time", number: true, tick: true, value: (task) => task.seconds, show: textCell((task) => (task.seconds ? span(task.seconds) : "")) },
        { key: "starts", label: "Starts", number: true, value: (task) => task.starts, show: textCell((task) => (task.starts ? String(task.starts) : "")) },
        { key: "errors", label: "Errors", number: true, value: (task) => task.errors, show: (cell, task) => {
          setText(cell, task.errors ? String(task.errors) : "");
          cell.classList.toggle("bad", task.errors > 0);
        } },
        { key: "block", label: "Block", value: (task) => task.block, show: (cell, task) => fill(cell, outside(task.blockName, 60)) },
      ],
    });
  }

  function drawTabs() {
    const list = [["", "Frames"], ["sheet", "Contact sheet"], ["why", "Why nothing runs"], ["log", "Log"]];
    if (page.session.steer) list.push(["settings", "Parameters"]);
    fill(tabs, list.map(([key, text]) => el("a", { href: `/jobs/${id}${key ? `/${key}` : ""}`, "aria-current": key === part ? "page" : null }, text)));
  }

  async function showPart(to) {
    part = to;
    drawTabs();
    if (part === "why") fill(body, el("section", { class: "panel" }, el("h2", null, "Why nothing runs"), why.element));
    else if (part === "settings") {
      fill(body, el("section", { class: "panel" }, el("h2", null, "Parameters"), settings.element));
      settings.read();
    } else if (part === "log") {
      fill(body, el("section", { class: "panel" }, el("h2", null, "Log"), logLines));
      fill(logLines, "The log is being read …");
      try {
        const { lines } = await get(`/api/log/job/${id}`);
        fill(logLines, lines.length ? lines.map((line) => el("div", null, outside(line, 2000))) : "The log is empty.");
      } catch (error) {
        fill(logLines, error.message);
      }
    } else {
      fill(body, frames);
      drawFrames();
    }
  }

  function showDetail(key) {
    if (detail?.key === key) return;
    detail?.close();
    detail = null;
    side.hidden = !key;
    element.classList.toggle("open", Boolean(key));
    if (!key) {
      fill(side);
      grid.setCurrent(null);
      return;
    }
    const [blockId, taskId] = key.split(".").map(Number);
    detail = makeTaskDetail(page, {
      job: id, block: blockId, task: taskId,
      node: () => ({ id: `${id}.${key}`, serial: serial() }),
      close: () => page.go(`/jobs/${id}${part ? `/${part}` : ""}${location.search}`),
      step: (by) => {
        const list = shownTasks();
        const at = list.findIndex((task) => task.key === key);
        const next = list[at + by];
        if (next) openTask(next);
      },
    });
    fill(side, detail.element);
    grid.setCurrent(key);
    if (innerWidth < 1100) requestAnimationFrame(() => side.scrollIntoView({ block: "start" }));
  }

  function watch() {
    const topics = new Map([["jobs", jobs], [`blocks.${id}`, blocks], [`tasks.${id}`, tasks]]);
    if (part === "why") topics.set(`why.${id}`, why.handler);
    if (detail) for (const [topic, handler] of detail.topics) topics.set(topic, handler);
    page.watch(topics);
  }

  function go(to) {
    const key = to.task !== undefined ? `${to.block}.${to.task}` : "";
    const wanted = to.part === "blocks" ? "" : to.part ?? "";
    // A frame opens beside what is shown: cells or pictures.
    if (!key || (part && part !== "sheet") || !body.firstChild) showPart(key && part === "sheet" ? "sheet" : wanted);
    showDetail(key);
    watch();
  }

  drawHead();
  go(names);
  return {
    element,
    moveTo(to) {
      if (to.job === undefined || Number(to.job) !== id) return false;
      go(to);
      return true;
    },
    tick() {
      drawFacts();
      detail?.tick();
      if (table && filters.as === "table") table.tick();
    },
    close() {
      clearTimeout(openTask.timer);
      clearTimeout(again);
      stopListening();
      detail?.close();
      grid.close();
      table?.close();
      sheet?.close();
    },
  };
}
