/**
 * All frames of a job as cells: only what is on the screen is drawn, so ten thousand cost as much as a
 * hundred. Some lines of cells share a canvas, a tile. A tile is drawn when it comes to the screen and
 * when a cell has changed: scrolling itself draws nothing, and gives the compositor no new pixels.
 * For readers of screens it is a list with one option: the current frame.
 */

import { el, setText } from "./dom.js";
import { oncePerFrame } from "./feed.js";

const SIZES = { large: [64, 40], medium: [44, 26], small: [14, 14] };
const GAP = 2;
const TILE = 200; // pixels: about the height of a tile
const SPARE_TILES = 4; // tiles that are kept for other lines

/** `items` have {key, kind, percent, label, text}; `open(item)` is called by a click and Enter. */
export class FrameGrid {
  constructor({ scroller, open, moved, label }) {
    Object.assign(this, { scroller, open, moved });
    this.items = [];
    this.current = -1;
    this.tiles = new Map(); // number -> tile on the screen
    this.spare = [];
    this.option = el("div", { role: "option", id: `frame-${Math.random().toString(36).slice(2)}`, class: "hide", "aria-selected": "true" });
    this.host = el("div", { class: "framegrid", role: "listbox", tabindex: "0", "aria-label": label,
      "aria-activedescendant": this.option.id }, this.option);
    this.tip = el("div", { class: "tip", hidden: true });
    this.element = el("div", { class: "gridbox" }, this.host, this.tip);
    this.dirty = false;
    this.stale = new Set(); // numbers of tiles with a cell that has changed
    this.drawSoon = oncePerFrame(() => this.draw());
    this.size = "medium";
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.host.addEventListener("click", (event) => this.click(event));
    this.host.addEventListener("pointermove", (event) => this.hover(event));
    this.host.addEventListener("pointerleave", () => this.point(-1));
    this.host.addEventListener("focus", () => this.select(Math.max(0, this.current), false));
    this.onScroll = () => this.drawSoon();
    scroller.addEventListener("scroll", this.onScroll, { passive: true });
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.element);
    this.observer.observe(scroller);
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => {
      this.colours = null;
      this.ask();
    };
    this.theme.addEventListener("change", this.onTheme);
    this.pointed = -1;
  }

  setItems(items) {
    const key = this.items[this.current]?.key;
    this.items = items;
    if (key !== undefined && items[this.current]?.key !== key) {
      this.current = items.findIndex((item) => item.key === key);
    }
    if (this.pointed >= items.length) this.point(-1);
    else if (this.pointed >= 0) setText(this.tip, items[this.pointed].text);
    this.layOut();
    this.say();
  }

  setSize(size) {
    this.size = size;
    this.layOut();
  }

  /** Make the frame with a key the current one. */
  setCurrent(key) {
    this.askCell(this.current);
    this.current = this.items.findIndex((item) => item.key === key);
    this.askCell(this.current);
    this.say();
  }

  /** Draw all that is on the screen anew, with the next frame. */
  ask() {
    this.dirty = true;
    this.drawSoon();
  }

  /** Draw one cell anew, with the next frame. */
  askCell(index) {
    if (index < 0) return;
    this.stale.add(Math.floor(index / this.columns / this.linesOfTile));
    this.drawSoon();
  }

  layOut() {
    const [wide, high] = SIZES[this.size];
    const width = this.element.clientWidth;
    this.columns = Math.max(1, Math.floor((width + GAP) / (wide + GAP)));
    // The cells fill the width: no ragged edge.
    this.wide = (width + GAP) / this.columns - GAP;
    this.high = high;
    this.linesOfTile = Math.max(1, Math.round(TILE / (high + GAP)));
    this.lines = Math.ceil(this.items.length / this.columns);
    this.host.style.height = `${Math.max(0, this.lines * (high + GAP) - GAP)}px`;
    this.ask();
  }

  readColours() {
    const style = getComputedStyle(this.host);
    const get = (name) => style.getPropertyValue(name).trim();
    this.colours = { text: get("--text"), fill: {}, on: {} };
    for (const kind of ["done", "running", "error", "skipped", "warning", "lost", "paused", "ready", "waiting"]) {
      this.colours.fill[kind] = get(`--k-${kind}`);
      this.colours.on[kind] = get(`--on-${kind}`);
    }
    this.font = `500 11px ${style.fontFamily}`;
  }

  draw() {
    if (!this.host.isConnected || !this.columns) return;
    if (!this.colours) this.readColours();
    const box = this.host.getBoundingClientRect();
    const screen = this.scroller.getBoundingClientRect();
    const step = this.high + GAP;
    const size = this.linesOfTile;
    // One more above and below: a scroll is on the screen before its event comes here.
    const first = Math.max(0, Math.floor((screen.top - box.top) / (step * size)) - 1);
    const end = Math.min(Math.ceil(this.lines / size), Math.ceil((screen.bottom - box.top) / (step * size)) + 1);
    for (const [number, tile] of this.tiles) {
      if (number >= first && number < end) continue;
      this.tiles.delete(number);
      tile.hidden = true;
      if (this.spare.length < SPARE_TILES) this.spare.push(tile);
      else tile.remove();
    }
    for (let number = first; number < end; number += 1) {
      const known = this.tiles.get(number);
      if (known && !this.dirty && !this.stale.has(number)) continue;
      const tile = known ?? this.spare.pop() ?? el("canvas", { "aria-hidden": "true" });
      this.tiles.set(number, tile);
      this.drawTile(tile, number * size, Math.min(this.lines, (number + 1) * size), box.width);
      if (!tile.isConnected) this.host.prepend(tile);
    }
    this.dirty = false;
    this.stale.clear();
  }

  drawTile(tile, first, end, width) {
    const step = this.high + GAP;
    const high = (end - first) * step;
    const scale = Math.min(2, devicePixelRatio || 1);
    const [pixelsWide, pixelsHigh] = [Math.round(width * scale), Math.round(high * scale)];
    if (tile.width !== pixelsWide || tile.height !== pixelsHigh) {
      tile.width = pixelsWide;
      tile.height = pixelsHigh;
      tile.style.width = `${width}px`;
      tile.style.height = `${high}px`;
    }
    tile.hidden = false;
    tile.style.transform = `translateY(${first * step}px)`;
    const pen = tile.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, high);
    pen.font = this.font;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const last = Math.min(this.items.length, end * this.columns);
    for (let i = first * this.columns; i < last; i += 1) this.drawCell(pen, i, first);
  }

  drawCell(pen, index, first) {
    const { fill, on, text } = this.colours;
    const item = this.items[index];
    const x = (index % this.columns) * (this.wide + GAP);
    const y = (Math.floor(index / this.columns) - first) * (this.high + GAP);
    const { wide, high } = this;
    if (item.kind === "running" || item.kind === "lost") {
      pen.fillStyle = fill.ready;
      pen.fillRect(x, y, wide, high);
      pen.fillStyle = fill[item.kind];
      const part = Math.min(100, Math.max(0, item.percent)) / 100;
      if (this.size === "small") pen.fillRect(x, y + high * (1 - part), wide, high * part);
      else pen.fillRect(x, y + high - 4, wide * part, 4);
      pen.strokeStyle = fill[item.kind];
      pen.lineWidth = 1.5;
      pen.strokeRect(x + 0.75, y + 0.75, wide - 1.5, high - 1.5);
    } else {
      pen.fillStyle = fill[item.kind] || fill.ready;
      pen.fillRect(x, y, wide, high);
    }
    if (this.size !== "small") {
      const running = item.kind === "running" || item.kind === "lost";
      pen.fillStyle = running ? on.ready : on[item.kind] || text;
      const large = this.size === "large";
      const percent = running ? `${item.percent}%` : "";
      if (large) {
        pen.fillText(item.label, x + wide / 2, y + high / 2 - (percent ? 8 : 0), wide - 4);
        if (percent) pen.fillText(percent, x + wide / 2, y + high / 2 + 6, wide - 4);
      } else pen.fillText(percent || item.label, x + wide / 2, y + high / 2 - (percent ? 1 : 0), wide - 4);
    }
    if (item.errors && item.kind !== "error") {
      pen.fillStyle = fill.error;
      pen.beginPath();
      pen.moveTo(x + wide - 7, y);
      pen.lineTo(x + wide, y);
      pen.lineTo(x + wide, y + 7);
      pen.fill();
    }
    if (index === this.current || index === this.pointed) {
      // Not the accent: running cells have a border that is nearly the same.
      const line = index === this.current ? 3 : 1.5;
      pen.strokeStyle = text;
      pen.lineWidth = line;
      pen.strokeRect(x + line / 2, y + line / 2, wide - line, high - line);
    }
  }

  at(event) {
    const box = this.host.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / (this.wide + GAP));
    const line = Math.floor((event.clientY - box.top) / (this.high + GAP));
    const index = line * this.columns + column;
    return column >= 0 && column < this.columns && index >= 0 && index < this.items.length ? index : -1;
  }

  click(event) {
    const index = this.at(event);
    if (index < 0) return;
    this.select(index);
    this.open(this.items[index]);
  }

  hover(event) {
    const index = this.at(event);
    this.point(index);
    if (index < 0) return;
    const box = this.element.getBoundingClientRect();
    const left = Math.min(event.clientX - box.left + 12, box.width - this.tip.offsetWidth);
    this.tip.style.transform = `translate(${Math.max(0, left)}px, ${event.clientY - box.top + 16}px)`;
  }

  point(index) {
    if (this.pointed === index) return;
    this.askCell(this.pointed);
    this.askCell(index);
    this.pointed = index;
    this.tip.hidden = index < 0;
    if (index >= 0) setText(this.tip, this.items[index].text);
  }

  key(event) {
    if (!this.items.length) return;
    const page = this.columns * 5;
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns,
      PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      event.preventDefault();
      const to = this.current + moves[event.key];
      this.select(Math.min(Math.max(0, to), this.items.length - 1));
      this.moved?.(this.items[this.current]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (this.current >= 0) this.open(this.items[this.current]);
    }
  }

  select(index, reveal = true) {
    if (!this.items.length) return;
    this.askCell(this.current);
    this.askCell(index);
    this.current = index;
    this.say();
    if (reveal) {
      const step = this.high + GAP;
      const top = this.host.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top
        + Math.floor(index / this.columns) * step;
      if (top < 8) this.scroller.scrollTop += top - 8;
      const below = top + step + 8 - this.scroller.clientHeight;
      if (below > 0) this.scroller.scrollTop += below;
    }
  }

  /** Let readers of screens know the current frame. */
  say() {
    const item = this.items[this.current];
    setText(this.option, item ? item.text : "no frame is chosen");
    this.option.setAttribute("aria-setsize", String(this.items.length));
    this.option.setAttribute("aria-posinset", String(Math.max(1, this.current + 1)));
  }

  close() {
    this.scroller.removeEventListener("scroll", this.onScroll);
    this.theme.removeEventListener("change", this.onTheme);
    this.observer.disconnect();
  }
}
