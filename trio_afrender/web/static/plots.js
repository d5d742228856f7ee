/** Small plots over time, as SVG: they scale with the page and have the colours of the theme. */

import { el, svg } from "./dom.js";

const WIDTH = 100, HEIGHT = 24;

/** Make a plot with a name, for `showPlot`. `kind` gives it its colour. */
export function makePlot(kind) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  const drawing = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true",
  }, area, line);
  const value = el("span", { class: "value" });
  const element = el("div", { class: `plot p-${kind}` }, drawing, value);
  return { element, area, line, value };
}

/** Draw `values` (newest last) of at most `most` figures, from 0 to `top`; `text` stands beside. */
export function showPlot(plot, values, top, text, most = 60) {
  const shown = values.slice(-most);
  const step = WIDTH / Math.max(1, most - 1);
  const points = shown.map((value, i) => {
    const x = WIDTH - (shown.length - 1 - i) * step;
    const y = HEIGHT - 1 - (HEIGHT - 2) * Math.min(1, Math.max(0, value / (top || 1)));
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  if (points.length === 1) points.unshift(`${(WIDTH - step).toFixed(1)} ${points[0].split(" ")[1]}`);
  const path = points.length ? `M${points.join("L")}` : "";
  const start = points.length ? points[0].split(" ")[0] : "0";
  if (plot.line.getAttribute("d") !== path) {
    plot.line.setAttribute("d", path);
    plot.area.setAttribute("d", path ? `${path}L${WIDTH} ${HEIGHT}L${start} ${HEIGHT}Z` : "");
  }
  if (plot.value.textContent !== text) plot.value.textContent = text;
}

/**
 * Values at `most` moments, `spacing` seconds apart, the last one at `end`. `points` are [time, ...],
 * oldest first; each holds until the next one. Moments before the first point have no value.
 */
export function sample(points, pick, end, spacing, most) {
  const values = [];
  let i = -1;
  for (let step = most - 1; step >= 0; step -= 1) {
    const at = end - step * spacing;
    while (i + 1 < points.length && points[i + 1][0] <= at) i += 1;
    if (i >= 0) values.push(pick(points[i]));
  }
  return values;
}

/** A curve of percents over seconds, with axes: [[unix, percent], ...]. */
export function makeCurve(samples, end, label) {
  const wide = 320, high = 96, left = 30, bottom = 16;
  const first = samples[0]?.[0] ?? end - 1;
  const length = Math.max(1, end - first);
  const x = (t) => left + ((wide - left - 4) * (t - first)) / length;
  const y = (p) => 4 + ((high - bottom - 4) * (100 - p)) / 100;
  const drawing = svg("svg", { viewBox: `0 0 ${wide} ${high}`, class: "curve", role: "img", "aria-label": label });
  for (const percent of [0, 50, 100]) {
    const text = svg("text", { x: left - 4, y: y(percent) + 3, "text-anchor": "end" });
    text.textContent = `${percent}%`;
    drawing.append(svg("path", { class: "rule", d: `M${left} ${y(percent)}H${wide - 4}` }), text);
  }
  if (samples.length) {
    // A percentage holds until the next one is reported.
    let path = `M${x(first).toFixed(1)} ${y(samples[0][1]).toFixed(1)}`;
    for (const [when, percent] of samples.slice(1)) path += `H${x(when).toFixed(1)}V${y(percent).toFixed(1)}`;
    drawing.append(svg("path", { class: "line", d: `${path}H${x(end).toFixed(1)}` }));
  }
  return drawing;
}

/** A meter of a studio in its own colours and size, as a canvas: its text is the label's. */
export function drawMeter(canvas, meter) {
  const wide = clamp(meter.width || 120, 24, 320), high = clamp(meter.height || 50, 12, 120);
  const scale = Math.min(3, devicePixelRatio || 1);
  canvas.width = wide * scale;
  canvas.height = high * scale;
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = colour(meter.back_colour);
  pen.fillRect(0, 0, wide, high);
  const history = meter.history ?? [meter.value];
  const most = Math.max(1, meter.value_max || 100);
  const step = Math.max(1, wide / 60);
  pen.fillStyle = colour(meter.graph_colour);
  history.slice(-Math.ceil(wide / step)).reverse().forEach((value, i) => {
    const part = high * Math.min(1, Math.max(0, value / most));
    pen.fillRect(wide - (i + 1) * step, high - part, step, part);
  });
  pen.fillStyle = colour(meter.label_colour);
  const size = clamp(meter.label_size || 10, 6, 32);
  pen.font = `${size}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  pen.fillText(String(meter.shown ?? "").slice(0, 80), 3, 3, wide - 6);
}

const clamp = (value, low, high) => Math.min(high, Math.max(low, Number(value) || 0));

/** A colour as `#rrggbb`; anything else is black. */
function colour(text) {
  return /^#[0-9a-f]{6}$/i.test(String(text)) ? text : "#000000";
}
