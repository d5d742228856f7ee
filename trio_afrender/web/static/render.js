/** One render: its states, its load over the last hour, meters, tasks, parameters, log. */

import { button, differs, el, fill, icon, makeLines, outside, setText, short } from "./dom.js";
import { oncePerFrame } from "./feed.js";
import { bytes, clock, longMoment, number, rate, span } from "./format.js";
import { stateChips } from "./jobs.js";
import { drawMeter, makePlot, showPlot } from "./plots.js";
import { FIGURES, since, taskLine } from "./renders.js";
import { renderWord } from "./states.js";
import { change, makeSettings, makeToolbar, settingsOf, whenSteering } from "./steering.js";

const POINTS = 360;

export function makeView(page, names) {
  const id = Number(names.render);
  let given = null, load = null, meters = [], fields = [], points = [];
  let gone = "";
  const meterHistory = new Map();

  const title = el("h1", { tabindex: "-1" }, `Render ${id}`);
  const chips = el("span", { class: "chips" });
  const meanings = el("p", { class: "summary" });
  const facts = el("dl", { class: "facts" });
  const note = el("span", { class: "annotation" });
  const noteEdit = button("Edit", editNote, { class: "act", "aria-label": "Edit the annotation", hidden: true });
  const noteLine = el("div", { class: "noteline" }, el("span", { class: "muted" }, "Annotation"), note, noteEdit);
  const tools = makeToolbar("render", () => (given ? [{ id, name: given.name }] : []),
    { first: ["nimby", "NIMBY", "free", "pause", "eject"], label: "Change this render" });
  const plots = new Map();
  const plotBox = el("div", { class: "plots" });
  const meterBox = el("div", { class: "meters" });
  const meterPanel = el("section", { class: "panel", hidden: true }, el("h2", null, "Meters"), meterBox);
  const meterElements = [];
  const taskBox = el("div", { class: "runlist" });
  const hardware = el("dl", { class: "facts" });
  const log = makeLines("Log of the render");
  const tasksLog = makeLines("Tasks that it has started and ended");
  const settings = makeSettings("render", () => ({ id, name: given.name }), known);
  const loadTitle = el("h2", null, "Load");
  const settingsPanel = el("section", { class: "panel", hidden: !page.session.steer }, el("h2", null, "Parameters"), settings.element);
  const element = el("div", { class: "view render" },
    el("a", { href: "/renders", class: "back" }, icon("back"), "Renders"),
    el("div", { class: "title" }, title, chips), meanings, noteLine, el("div", { class: "toolline", hidden: true }, tools),
    el("div", { class: "columns" },
      el("div", { class: "stack" },
        el("section", { class: "panel" }, el("h2", null, "Runs"), taskBox),
        meterPanel,
        el("section", { class: "panel" }, el("h2", null, "Host"), facts, hardware)),
      el("section", { class: "panel" }, loadTitle, plotBox)),
    settingsPanel,
    el("section", { class: "panel" }, el("h2", null, "Log"), log),
    el("section", { class: "panel" }, el("h2", null, "Tasks that it has started and ended"), tasksLog));

  function known() {
    if (!given) return {};
    const { priority, annotation, user, services, services_disabled, hidden, properties } = given;
    return { priority, annotation, user_name: user, services, services_disabled, hidden, properties_host: properties,
      capacity_host: given.capacity, max_tasks_host: given.max_tasks, custom_data: given.custom_data,
      nimby: given.states.includes("NbY"), NIMBY: given.states.includes("NBY"), paused: given.states.includes("PAU") };
  }

  function editNote() {
    if (!given) return;
    const input = el("input", { type: "text", value: given.annotation ?? "", "aria-label": "Annotation" });
    const stop = () => {
      fill(noteLine, el("span", { class: "muted" }, "Annotation"), note, noteEdit);
      noteEdit.focus();
    };
    const form = el("form", { class: "noteform", on: {
      submit: async (event) => {
        event.preventDefault();
        if (await change("render", "set", [{ id, name: given.name }], { annotation: input.value })) stop();
      },
      keydown: (event) => event.key === "Escape" && stop(),
    } }, input, el("button", { type: "submit", class: "primary" }, "Set"), button("Cancel", stop));
    fill(noteLine, el("span", { class: "muted" }, "Annotation"), form);
    input.focus();
  }

  const draw = oncePerFrame(() => {
    if (!element.isConnected) return; // the title is that of another view now
    if (gone) {
      setText(meanings, gone);
      fill(chips);
      toolLine.hidden = true;
      return;
    }
    if (!given) return;
    page.title(given.name);
    noteEdit.hidden = !steers;
    toolLine.hidden = false;
    fill(title, outside(given.name, 120));
    fill(chips, stateChips(given.states, renderWord));
    note.replaceChildren(given.annotation ? outside(given.annotation, 400) : el("span", { class: "muted" }, "none"));
    drawSince();
    const list = [
      ["User", given.user], ["Priority", String(given.priority)], ["Capacity", `${given.capacity_used} of ${given.capacity} used`],
      ["Tasks at most", String(given.max_tasks)], ["Services", (given.services ?? []).join(", ") || "all"],
      ["Disabled services", (given.services_disabled ?? []).join(", ")], ["Address", given.address], ["Engine", given.engine], ["System", given.os],
      ["Pool", given.pool], ["Registered", longMoment(given.registered)],
      ...(given.netifs ?? []).map((each) => [each.name || "Network", [each.mac, ...(each.addresses ?? []).map((one) => one.ip ?? one)].join(" ")]),
    ].filter(([, text]) => text);
    fill(facts, list.map(([name, text]) => el("div", null, el("dt", null, outside(name, 40)), el("dd", null, outside(text, 300)))));
    drawTasks();
    drawPlots();
    drawHardware();
    drawMeters();
    drawLines(log, given.log);
    drawLines(tasksLog, given.tasks_log);
    settings.update();
  });

  function drawSince() {
    if (!given || gone) return;
    const words = given.states.map((word) => renderWord(word)[1]).join(", ");
    setText(meanings, given.states.includes("ONL") ? `${since(given).slice(0, 2).filter(Boolean).join(" for ")}: ${words}` : words);
  }

  function drawTasks() {
    fill(taskBox, given.tasks.length ? given.tasks.map((task) => el("div", { class: "runrow" }, taskLine(task),
      el("span", { class: "sub" }, outside(`${task.block_name} · ${task.service} · ${task.user}`, 160),
        task.started ? el("span", null, ` · since ${clock(task.started)}`) : null)))
      : el("p", { class: "muted" }, "Nothing runs here."));
    for (const link of taskBox.querySelectorAll("a")) link.removeAttribute("tabindex");
  }

  function drawPlots() {
    // A render that is known for minutes has no hour to show.
    const seconds = points.length > 1 ? points.at(-1)[0] - points[0][0] : 0;
    setText(loadTitle, seconds ? `Load, the last ${span(seconds)}` : "Load");
    fields.forEach((name, i) => {
      const figure = FIGURES[name];
      if (!figure) return;
      const shown = points.map((point) => point[i + 1] ?? 0);
      const last = points[points.length - 1]?.[i + 1];
      const isKnown = points.some((point) => point[i + 1] !== null && point[i + 1] !== undefined);
      let made = plots.get(name);
      if (!isKnown) {
        made?.box.remove();
        plots.delete(name);
        return;
      }
      if (!made) {
        const plot = makePlot(figure[1]);
        made = { plot, box: el("div", { class: "plotrow" }, el("span", { class: "plotname" }, figure[0]), plot.element) };
        plots.set(name, made);
        plotBox.append(made.box);
      }
      const top = figure[2] ?? Math.max(1, ...shown);
      showPlot(made.plot, shown, top, last === null || last === undefined ? "" : figure[3](last), Math.max(30, Math.min(POINTS, shown.length)));
    });
    if (!plots.size) fill(plotBox, el("p", { class: "muted" }, "This render has sent no figures yet."));
    else plotBox.querySelector("p")?.remove();
  }

  function drawHardware() {
    if (!load) {
      fill(hardware);
      return;
    }
    const list = [
      ["Processors", load.cpu_num ? `${load.cpu_num} × ${number(load.cpu_mhz / 1000)} GHz${load.cpu_temp ? `, ${load.cpu_temp} °C` : ""}` : ""],
      ["Load average", load.cpu_loadavg ? load.cpu_loadavg.map((each) => number(each / 10)).join(", ") : ""],
      ["Memory", load.mem_total_mb ? `${bytes((load.mem_total_mb - load.mem_free_mb) * 2 ** 20)} of ${bytes(load.mem_total_mb * 2 ** 20)} used` : ""],
      ["Swap", load.swap_total_mb ? `${bytes(load.swap_used_mb * 2 ** 20)} of ${bytes(load.swap_total_mb * 2 ** 20)}` : ""],
      ["Disk", load.hdd_total_gb ? `${bytes(load.hdd_free_gb * 2 ** 30)} of ${bytes(load.hdd_total_gb * 2 ** 30)} free; reads ${rate(load.hdd_rd_kbsec)}, writes ${rate(load.hdd_wr_kbsec)}` : ""],
      ["Network", `receives ${rate(load.net_recv_kbsec ?? 0)}, sends ${rate(load.net_send_kbsec ?? 0)}`],
      ["GPU", load.gpu_mem_total_mb ? `${load.gpu_string || ""} ${bytes(load.gpu_mem_used_mb * 2 ** 20)} of ${bytes(load.gpu_mem_total_mb * 2 ** 20)}, ${load.gpu_gpu_temp} °C` : ""],
      ["Hardware", load.hw_info],
      ["Logged in", (load.logged_in_users ?? []).join(", ")],
    ].filter(([, text]) => text);
    fill(hardware, list.map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, outside(text, 300)))));
  }

  function drawMeters() {
    meterPanel.hidden = meters.length === 0;
    while (meterElements.length > meters.length) meterElements.pop().remove();
    meters.slice(0, 64).forEach((meter, i) => {
      let made = meterElements[i];
      if (!made) {
        made = el("figure", { class: "meter" }, el("canvas", { role: "img" }), el("figcaption"));
        meterElements.push(made);
        meterBox.append(made);
      }
      const text = `${meter.label || "meter"}: ${number(meter.value)} of ${number(meter.value_max)}`;
      const key = `${i} ${meter.label}`;
      drawMeter(made.firstChild, { ...meter, shown: meter.label, history: meterHistory.get(key) });
      made.firstChild.setAttribute("aria-label", short(text, 200));
      made.title = short(meter.tooltip || meter.label, 500);
      fill(made.lastChild, outside(text, 80));
    });
  }

  function takeMeters(now) {
    meters = now;
    meters.forEach((meter, i) => {
      const key = `${i} ${meter.label}`;
      const list = meterHistory.get(key) ?? [];
      list.push(meter.value);
      meterHistory.set(key, list.slice(-60));
    });
    if (meterHistory.size > 256) meterHistory.clear();
  }

  function drawLines(target, lines) {
    const list = lines ?? [];
    const key = `${list.length} ${list[list.length - 1] ?? ""}`;
    if (differs(target, key)) fill(target, list.length ? list.slice(-400).map((line) => el("div", null, outside(line, 1000))) : "Nothing yet.");
  }

  const toolLine = element.querySelector(".toolline");
  let steers = false;
  whenSteering(() => {
    steers = settingsOf("render").some((each) => each.name === "annotation");
    draw();
  });

  const handler = {
    snapshot(data) {
      const first = given === null;
      gone = "";
      given = data.render;
      load = data.load;
      fields = data.fields ?? page.session.load_fields ?? [];
      points = data.points ?? [];
      takeMeters(data.meters ?? []);
      if (first) settings.read();
      draw();
    },
    change(data) {
      if (data.render) given = { ...given, ...data.render };
      if (data.load !== undefined) load = data.load;
      if (data.meters) takeMeters(data.meters);
      if (data.points) points = [...points, ...data.points].slice(-POINTS);
      draw();
    },
    gone(data) {
      gone = data.error ?? "This render is gone.";
      draw();
    },
  };
  page.title(`Render ${id}`);
  page.watch(new Map([[`render.${id}`, handler]]));
  return {
    element,
    tick: drawSince,
    close() {},
  };
}
