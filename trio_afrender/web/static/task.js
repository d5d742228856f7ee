/** One frame in detail: its image, its progress, its attempts, what it used, its output, why. */

import { makeTaskBar } from "./bars.js";
import { differs, el, fill, icon, makeLines, outside, setText, short } from "./dom.js";
import { oncePerFrame } from "./feed.js";
import { bytes, clock, count, longMoment, moment, now, number, span } from "./format.js";
import { stateChips } from "./jobs.js";
import { makeOutput } from "./output.js";
import { makeCurve } from "./plots.js";
import { makeToolbar } from "./steering.js";

/** What the processes of a task used: key -> [name, how it is shown]. */
const USAGE = {
  cpu_seconds: ["processor time", (value) => span(value)],
  cpu_percent: ["processors now", (value) => `${number(value / 100)} cores`],
  resident: ["memory now", bytes],
  resident_peak: ["memory at most", bytes],
  read_bytes: ["read from disks", bytes],
  written_bytes: ["written to disks", bytes],
  processes: ["processes now", number],
  processes_peak: ["processes at most", number],
  gpu_memory: ["GPU memory now", bytes],
  gpu_memory_peak: ["GPU memory at most", bytes],
  gpu_percent: ["GPUs", (value) => `${number(value)} %`],
};

/** What the farm has as a text, as `task_mem_mb:47 task_cpu_sec:0.4`: key -> [key of `USAGE`, factor]. */
const RESOURCES = {
  task_mem_mb: ["resident", 2 ** 20],
  task_mem_peak_mb: ["resident_peak", 2 ** 20],
  task_procs: ["processes", 1],
  task_cpu: ["cpu_percent", 1],
  task_cpu_sec: ["cpu_seconds", 1],
  task_read_mb: ["read_bytes", 2 ** 20],
  task_write_mb: ["written_bytes", 2 ** 20],
  task_gpu_mb: ["gpu_memory", 2 ** 20],
  task_gpu_peak_mb: ["gpu_memory_peak", 2 ** 20],
  task_gpu: ["gpu_percent", 1],
};

/** Split a text of resources into figures that are known, and the rest. */
function readResources(text) {
  const found = {};
  const rest = String(text ?? "").split(/\s+/).filter((word) => {
    const [key, value] = word.split(":");
    if (!(key in RESOURCES) || !Number.isFinite(Number(value))) return true;
    const [name, factor] = RESOURCES[key];
    found[name] = Number(value) * factor;
    return false;
  });
  return [found, rest.join(" ")];
}

/** Make the panel of a task; `topics` are what it watches. */
export function makeTaskDetail(page, { job, block, task, node, close, step }) {
  const key = `${block}.${task}`;
  const id = `${job}.${key}`;
  let given = null;
  let shownImage = "";

  const title = el("h2", { tabindex: "-1" }, `Task ${id}`);
  const chips = el("span", { class: "chips" });
  const image = el("img", { class: "large", alt: "" });
  const figure = el("figure", { class: "shot", hidden: true }, image);
  const progress = el("div", { class: "taskbar" });
  const facts = el("dl", { class: "facts" });
  const usage = el("dl", { class: "facts usage" });
  const curve = el("div", { class: "curvebox" });
  const why = el("ul", { class: "whylist" });
  const whyBox = el("section", { hidden: true }, el("h3", null, "Why"), why);
  const usageBox = el("section", { hidden: true }, el("h3", null, "What its processes used"), usage);
  const curveBox = el("section", { hidden: true }, el("h3", null, "Progress over time"), curve);
  const output = makeOutput(id);
  const files = el("ul", { class: "files" });
  const filesBox = el("section", { hidden: true }, el("h3", null, "Files"), files);
  const log = makeLines("Log of the task");
  const logBox = el("details", { class: "inline", hidden: true }, el("summary", null, "What happened to it"), log);
  const errors = makeLines("Renders with errors");
  const errorsBox = el("details", { class: "inline", hidden: true }, el("summary", null, "Renders with errors"), errors);
  const command = makeLines("Command");
  const commandBox = el("details", { class: "inline", hidden: true }, el("summary", null, "Command"), command);
  const tools = makeToolbar("task", () => [node()], { first: ["retry", "restart", "skip"], label: "Change this frame", small: true });
  const element = el("div", { class: "detail" },
    el("div", { class: "detailhead" },
      el("button", { type: "button", class: "plain", "aria-label": "Previous frame", on: { click: () => step(-1) } }, icon("back")),
      el("button", { type: "button", class: "plain", "aria-label": "Next frame", on: { click: () => step(1) } }, icon("next")),
      title, chips,
      el("button", { type: "button", class: "plain close", "aria-label": "Close this frame", on: { click: close } }, icon("close"))),
    progress, tools, figure, whyBox, facts,
    el("section", null, el("h3", null, "Output"), output.element),
    curveBox, usageBox, filesBox, logBox, errorsBox, commandBox);
  element.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.target.closest("input, [popover], dialog")) close();
  });

  const draw = oncePerFrame(() => {
    if (!given || !element.isConnected) return;
    const its = given;
    if (differs(title, its.name)) {
      fill(title, outside(its.name, 120));
      title.title = short(its.name, 1000);
    }
    fill(chips, stateChips(its.states));
    const running = its.states.includes("RUN");
    fill(progress, running ? makeTaskBar(its.percent, "running", `${its.percent} % done`) : null,
      running ? el("span", { class: "sub" }, `${its.percent} %${its.frame ? `, frame ${its.frame}: ${its.frame_percent} %` : ""}`) : null,
      its.activity ? el("p", { class: "activity" }, outside(its.activity, 300)) : null);
    drawImage(its);
    drawFacts();
    drawWhy(its);
    drawUsage(its);
    drawCurve(its);
    drawFiles(its);
    drawTexts(its);
  });

  function drawImage(its) {
    const address = its.thumbnail
      ? `${its.thumbnail}${its.thumbnail.includes("?") ? "&" : "?"}v=${Math.floor(its.changed)}` : "";
    if (address === shownImage) return;
    shownImage = address;
    if (!address) {
      figure.hidden = true;
      return;
    }
    const next = new Image();
    next.onload = () => {
      if (shownImage !== address) return;
      image.src = address;
      image.alt = `Image of ${short(its.name, 80)}`;
      figure.hidden = false;
    };
    next.onerror = () => {
      if (shownImage === address) figure.hidden = true;
    };
    next.src = address;
  }

  function drawFacts() {
    const its = given;
    if (!its) return;
    const running = its.states.includes("RUN") || its.states.includes("WRC");
    const until = running ? now() : its.changed;
    const list = [
      ["Render", its.render, ""],
      [running ? "Runs for" : "Took", its.started ? span(until - its.started) : "", longMoment(its.started)],
      ["Started", its.started ? moment(its.started) : "", longMoment(its.started)],
      ["Ended", !running && its.started && its.changed > its.started ? moment(its.changed) : "", longMoment(its.changed)],
      ["Starts", its.starts ? String(its.starts) : "", ""],
      ["Errors", its.errors ? String(its.errors) : "", ""],
      ["Block", its.block_name, ""],
      ["Service", its.parser && its.parser !== its.service ? `${its.service}, parser ${its.parser}` : its.service, ""],
      ["Resources", readResources(its.resources)[1], ""],
    ].filter(([, text]) => text);
    for (const each of its.attempts ?? []) {
      list.push([`Attempt ${each.attempt}`, [each.render, each.state, each.started ? clock(each.started) : "",
        each.finished && each.started ? span(each.finished - each.started) : ""].filter(Boolean).join(", "), longMoment(each.started)]);
    }
    const text = JSON.stringify(list);
    if (!differs(facts, text)) return;
    fill(facts, list.map(([name, value, hint]) => el("div", { title: hint || null, class: name === "Errors" ? "bad" : null },
      el("dt", null, name), el("dd", null, name === "Render" ? outside(value, 120) : outside(value, 500)))));
  }

  function drawWhy(its) {
    whyBox.hidden = !its.why?.length;
    showLines(why, its.why ?? [], (text) => el("li", null, outside(text, 1000)));
  }

  function showLines(target, lines, make) {
    const text = lines.join("\n");
    if (differs(target, text)) fill(target, lines.map(make));
  }

  function drawUsage(its) {
    const figures = readResources(its.resources)[0];
    const list = Object.entries(figures).filter(([name, value]) => USAGE[name] && Number(value) > 0)
      .map(([name, value]) => [USAGE[name][0], USAGE[name][1](Number(value))]);
    usageBox.hidden = !list.length;
    fill(usage, list.map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, text))));
  }

  function drawCurve(its) {
    const points = its.curve ?? [];
    curveBox.hidden = points.length < 2;
    if (curveBox.hidden) return;
    const running = its.states.includes("RUN");
    const end = running ? now() - its.started : Math.max(points[points.length - 1][0], its.changed - its.started);
    const text = `${points[points.length - 1][1]} % after ${span(end)}, in ${count(points.length, "step")}`;
    fill(curve, makeCurve(points, end, text), el("div", { class: "axis" }, el("span", null, "start"), el("span", null, span(end))));
  }

  function drawFiles(its) {
    const list = its.files ?? [];
    filesBox.hidden = !list.length;
    showLines(files, list.map((file) => file.name), (_, i) => {
      const file = list[i];
      return el("li", null, file.url ? el("a", { href: file.url, target: "_blank", rel: "noreferrer" }, outside(file.name, 200)) : outside(file.name, 200));
    });
  }

  function drawTexts(its) {
    logBox.hidden = !its.log?.length;
    showLines(log, its.log ?? [], (line) => el("div", null, outside(line, 2000)));
    errorsBox.hidden = !its.error_hosts?.length;
    showLines(errors, its.error_hosts ?? [], (line) => el("div", null, outside(line, 500)));
    commandBox.hidden = !its.command;
    const lines = [its.command ?? ""];
    if (its.working_directory) lines.push(`in ${its.working_directory}`);
    showLines(command, lines, (line) => el("div", null, outside(line, 20_000)));
  }

  const handler = {
    snapshot(data) {
      given = data.task;
      draw();
    },
    change(data) {
      given = { ...given, ...data.task };
      draw();
    },
    gone(data) {
      const text = data.error ?? "This task is gone.";
      if (differs(title, text)) setText(title, text);
    },
  };
  return {
    key,
    element,
    topics: new Map([[`task.${id}`, handler], [`output.${id}`, output.handler]]),
    tick() {
      drawFacts();
      if (given?.states.includes("RUN")) drawCurve(given);
    },
    close: () => output.close(),
  };
}
