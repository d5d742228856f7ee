/** The images of a job side by side as they arrive, and one after another like a flip book. */

import { button, el, fill, icon, outside, setText, short } from "./dom.js";
import { KINDS } from "./states.js";
import { RowWindow } from "./window.js";

const TILE = 176, GAP = 10;
const RATES = [4, 8, 12, 24, 25, 30];
const AHEAD = 12;

/** Shows tasks; those without an image are left out of the flip book. */
export class ContactSheet {
  constructor({ page, open }) {
    Object.assign(this, { page, open, tasks: [], tiles: new Map(), current: 0, images: new Map() });
    this.host = el("div", { class: "sheet", role: "listbox", "aria-label": "Images of the frames", tabindex: "0" });
    this.rate = el("select", { "aria-label": "Frames a second" }, RATES.map((each) => el("option", { value: String(each) }, `${each} frames/s`)));
    this.rate.value = "12";
    this.element = el("div", { class: "sheetbox" },
      el("div", { class: "filters" }, button("Flip book", () => this.openBook(), { class: "act" }),
        el("span", { class: "muted keys" }, "Arrow keys step, Space plays, Enter opens the frame.")), this.host);
    this.high = TILE * 0.75 + 28;
    this.window = new RowWindow(page.scroller, this.host, this.high + GAP, (a, b) => this.draw(a, b));
    this.resized = new ResizeObserver(() => this.layOut());
    this.resized.observe(this.element);
    this.host.addEventListener("keydown", (event) => this.key(event));
    this.host.addEventListener("focus", () => this.point());
    this.host.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.openBook(Number(tile.dataset.index));
    });
    this.book = null;
  }

  setTasks(tasks) {
    this.tasks = tasks;
    this.current = Math.min(this.current, Math.max(0, tasks.length - 1));
    this.layOut();
    this.book?.update();
  }

  layOut() {
    const wide = this.element.clientWidth;
    if (!wide) return;
    this.columns = Math.max(2, Math.floor((wide + GAP) / (TILE + GAP)));
    this.tile = (wide + GAP) / this.columns - GAP;
    this.high = this.tile * 0.75 + 28;
    this.window.rowHeight = this.high + GAP;
    this.window.setTotal(Math.ceil(this.tasks.length / this.columns));
    this.window.now();
  }

  draw(first, end) {
    if (!this.columns) return;
    const from = first * this.columns, to = Math.min(this.tasks.length, end * this.columns);
    const wanted = new Set();
    for (let i = from; i < to; i += 1) wanted.add(this.tasks[i].key);
    for (const [key, tile] of this.tiles) {
      if (!wanted.has(key)) {
        tile.element.remove();
        this.tiles.delete(key);
      }
    }
    for (let i = from; i < to; i += 1) {
      const task = this.tasks[i];
      let tile = this.tiles.get(task.key);
      if (!tile) {
        tile = makeTile(task);
        this.tiles.set(task.key, tile);
      }
      if (tile.element.parentNode === null || tile.index !== i) this.host.append(tile.element);
      tile.index = i;
      const { element } = tile;
      element.dataset.index = String(i);
      element.id = `tile-${task.key}`;
      element.style.width = `${this.tile}px`;
      element.style.height = `${this.high}px`;
      element.style.transform = `translate(${(i % this.columns) * (this.tile + GAP)}px, ${Math.floor(i / this.columns) * (this.high + GAP)}px)`;
      element.setAttribute("aria-setsize", String(this.tasks.length));
      element.setAttribute("aria-posinset", String(i + 1));
      element.setAttribute("aria-selected", String(i === this.current));
      showTile(tile, task);
    }
    this.point(false);
  }

  point(draw = true) {
    const task = this.tasks[this.current];
    if (task && this.tiles.has(task.key)) this.host.setAttribute("aria-activedescendant", `tile-${task.key}`);
    else this.host.removeAttribute("aria-activedescendant");
    if (draw) for (const tile of this.tiles.values()) tile.element.setAttribute("aria-selected", String(tile.index === this.current));
  }

  key(event) {
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      event.preventDefault();
      this.current = Math.min(Math.max(0, this.current + moves[event.key]), this.tasks.length - 1);
      this.window.reveal(Math.floor(this.current / this.columns), 8);
      this.point();
    } else if (event.key === " ") {
      event.preventDefault();
      this.openBook(this.current, true);
    } else if (event.key === "Enter" && this.tasks[this.current]) {
      event.preventDefault();
      this.open(this.tasks[this.current]);
    }
  }

  openBook(index = this.current, play = false) {
    if (this.book) return;
    this.book = makeBook(this, index, play);
  }

  close() {
    this.book?.close();
    this.resized.disconnect();
    this.window.close();
  }
}

function makeTile(task) {
  const image = el("img", { alt: "", decoding: "async" });
  const blank = el("span", { class: "blank", "aria-hidden": "true" });
  const label = el("span", { class: "label" });
  const element = el("div", { class: "tile", role: "option" }, el("span", { class: "pic" }, image, blank), label);
  const tile = { element, image, blank, label, index: -1, shown: "", missing: "", task: null };
  const here = (on) => {
    image.classList.toggle("here", on);
    blank.hidden = on;
  };
  image.addEventListener("load", () => here(true));
  image.addEventListener("error", () => {
    here(false);
    tile.missing = tile.shown;
    if (tile.task) showBlank(tile);
  });
  return tile;
}

/** What a tile shows in place of an image. */
function showBlank({ blank, missing, shown, task }) {
  setText(blank, shown && missing === shown ? `${KINDS[task.kind]}, no image` : KINDS[task.kind]);
}

function showTile(tile, task) {
  if (tile.task === task) return;
  tile.task = task;
  tile.element.className = `tile t-${task.kind}`;
  fill(tile.label, outside(task.name, 40), el("span", { class: "muted" }, task.kind === "running" ? `${task.percent} %` : ""));
  tile.element.setAttribute("aria-label", task.text);
  tile.element.title = task.text;
  // An image comes when a task is over, so a change of percent asks for none.
  const address = task.mayHaveImage && task.kind !== "running" ? task.image : "";
  const same = tile.shown === address;
  tile.shown = address;
  showBlank(tile);
  if (same) return;
  if (address) tile.image.src = address;
  else {
    tile.image.removeAttribute("src");
    tile.image.classList.remove("here");
    tile.blank.hidden = false;
  }
}

/** The flip book: one image large in a dialog. */
function makeBook(sheet, index, play) {
  let frames = [];
  let at = 0;
  let timer = 0;
  const loaded = new Map(); // address -> Image, or null if there is none
  const picture = el("img", { class: "bookimage", alt: "" });
  const none = el("p", { class: "none" }, "No image");
  const caption = el("p", { class: "caption" });
  const slider = el("input", { type: "range", min: "0", value: "0", "aria-label": "Frame", on: { input: () => go(Number(slider.value)) } });
  const player = button("Play", () => toggle(), { class: "primary" });
  const dialog = el("dialog", { class: "book", "aria-label": "Flip book" },
    el("div", { class: "booktop" }, caption,
      el("button", { type: "button", class: "plain", "aria-label": "Close the flip book", on: { click: () => dialog.close() } }, icon("close"))),
    el("div", { class: "stage" }, picture, none),
    el("div", { class: "booktools" },
      el("button", { type: "button", class: "act", "aria-label": "Previous image", on: { click: () => go(at - 1) } }, icon("back")), player,
      el("button", { type: "button", class: "act", "aria-label": "Next image", on: { click: () => go(at + 1) } }, icon("next")),
      slider, sheet.rate.cloneNode(true),
      button("Open the frame", () => {
        const task = frames[at];
        dialog.close();
        if (task) sheet.open(task);
      }, { class: "act" })));
  const rate = dialog.querySelector("select");
  rate.value = sheet.rate.value;
  rate.addEventListener("change", () => {
    sheet.rate.value = rate.value;
    if (timer) run();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target === rate) return;
    const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      event.preventDefault();
      stop();
      go(Math.min(Math.max(0, at + moves[event.key]), frames.length - 1));
    } else if (event.key === " " && (event.target === player || !event.target.closest("button"))) {
      event.preventDefault();
      toggle();
    }
  });
  dialog.addEventListener("close", () => {
    stop();
    dialog.remove();
    sheet.book = null;
    const task = frames[at];
    const found = sheet.tasks.findIndex((each) => each.key === task?.key);
    if (found >= 0) sheet.current = found;
    sheet.point();
    sheet.host.focus({ preventScroll: true });
  });

  function load(task) {
    const address = task.image;
    if (loaded.has(address)) return;
    const image = new Image();
    loaded.set(address, image);
    image.onerror = () => {
      loaded.set(address, null);
      if (frames[at]?.image === address) show();
    };
    image.onload = () => {
      if (frames[at]?.image === address) show();
    };
    image.src = address;
    if (loaded.size > 600) loaded.delete(loaded.keys().next().value);
  }

  function show() {
    const task = frames[at];
    slider.max = String(Math.max(0, frames.length - 1));
    slider.value = String(at);
    if (!task) {
      picture.hidden = true;
      none.hidden = false;
      setText(none, "No frame has an image yet.");
      return;
    }
    for (let i = at; i < Math.min(frames.length, at + AHEAD); i += 1) load(frames[i]);
    const image = loaded.get(task.image);
    if (image?.complete && image.naturalWidth) {
      picture.src = image.src;
      picture.hidden = false;
      none.hidden = true;
    } else if (image === null) {
      picture.hidden = true;
      none.hidden = false;
      setText(none, `${KINDS[task.kind]}: no image`);
    }
    picture.alt = short(task.name, 80);
    slider.setAttribute("aria-valuetext", short(task.name, 80));
    fill(caption, outside(task.name, 80), el("span", { class: "muted" }, `${at + 1} of ${frames.length} · ${KINDS[task.kind]}${task.render ? " · " : ""}`), outside(task.render, 60));
  }

  function go(to) {
    at = frames.length ? (to + frames.length) % frames.length : 0;
    show();
  }

  /** Play: what has no image is stepped over, what is not loaded yet is waited for. */
  function run() {
    clearInterval(timer);
    timer = setInterval(() => {
      for (let i = 1; i <= frames.length; i += 1) {
        const next = (at + i) % frames.length;
        const image = loaded.get(frames[next].image);
        if (image === null) continue;
        load(frames[next]);
        if (image?.complete) go(next);
        return;
      }
    }, 1000 / Number(rate.value));
    setText(player, "Pause");
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    setText(player, "Play");
  }

  const toggle = () => (timer ? stop() : run());

  function update() {
    const key = frames[at]?.key ?? sheet.tasks[index]?.key;
    frames = sheet.tasks.filter((task) => task.mayHaveImage && task.kind !== "running");
    const found = frames.findIndex((task) => task.key === key);
    at = found >= 0 ? found : Math.min(at, Math.max(0, frames.length - 1));
    show();
  }

  document.body.append(dialog);
  update();
  dialog.showModal();
  player.focus();
  if (play) run();
  return { update, close: () => dialog.close() };
}
