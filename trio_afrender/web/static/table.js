/** A table of any length: sorted by a click, walked by arrow keys, rows selected and opened. */

import { button, el, fill, setText, short } from "./dom.js";
import { RowWindow } from "./window.js";

const collator = new Intl.Collator(undefined, { numeric: true });
const SPARE_ROWS = 40; // elements of rows that are kept for other rows

/**
 * `columns`: {key, label, title?, number?, narrow?, value(item), show(cell, item)}. `value` is what
 * is sorted by; without it a column is not sorted. `show` fills the cell, and is called again only
 * when the item is another object than before. Ids may be used again: `keyOf` tells whether an item
 * is still the one that was selected.
 */
export class Table {
  constructor({ label, columns, scroller, idOf, keyOf, open, className, selectable, order, onOrder, onSelect, empty }) {
    Object.assign(this, { columns, idOf, keyOf: keyOf ?? idOf, open, selectable, onOrder, onSelect });
    this.order = order ?? { key: columns[0].key, down: false };
    this.items = [];
    this.selected = new Set();
    this.chosen = new Map(); // id -> key of the item that was selected
    this.current = null;
    this.rows = new Map();
    this.unused = [];
    this.head = el("div", { role: "row", class: "row head" });
    this.body = el("div", { role: "rowgroup", class: "body" });
    this.empty = el("p", { class: "empty", hidden: true }, empty ?? "Nothing to show.");
    this.grid = el("div", { role: "grid", class: `table ${className}`, "aria-label": label,
      "aria-multiselectable": selectable ? "true" : null },
    el("div", { role: "rowgroup", class: "headgroup" }, this.head), this.body);
    this.element = el("div", { class: "tablebox" }, this.grid, this.empty);
    this.window = new RowWindow(scroller, this.body, this.readHeight(), (a, b) => this.draw(a, b));
    this.narrow = matchMedia("(max-width: 899px)");
    this.onNarrow = () => this.window.setRowHeight(this.readHeight());
    this.narrow.addEventListener("change", this.onNarrow);
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    this.body.addEventListener("focusin", (event) => this.focused(event));
    this.drawHead();
  }

  readHeight() {
    const text = this.grid.isConnected
      ? getComputedStyle(this.grid).getPropertyValue("--row") : "";
    return Number.parseFloat(text) || 48;
  }

  drawHead() {
    fill(this.head,
      this.selectable ? el("div", { role: "columnheader", class: "cell pick" }, el("span", { class: "hide" }, "Selected")) : null,
      this.columns.map((column) => {
        const sorted = this.order.key === column.key;
        const cell = el("div", {
          role: "columnheader", class: `cell ${column.key}${column.number ? " number" : ""}`,
          "aria-sort": sorted ? (this.order.down ? "descending" : "ascending") : null,
        });
        if (!column.value) return fill(cell, el("span", { title: column.title }, column.label));
        const mark = sorted ? (this.order.down ? " ↓" : " ↑") : "";
        const click = () => this.sortBy(column);
        return fill(cell, button(column.label, click, { class: "sort", title: column.title ?? `Sort by ${column.label}` }),
          el("span", { "aria-hidden": "true" }, mark));
      }));
  }

  sortBy(column) {
    const same = this.order.key === column.key;
    this.order = { key: column.key, down: same ? !this.order.down : Boolean(column.number) };
    this.drawHead();
    this.head.querySelector(`.${column.key} button`)?.focus();
    this.setItems(this.items);
    this.onOrder?.(this.order);
  }

  /** Show some items, in the order that is chosen. */
  setItems(items) {
    const column = this.columns.find((each) => each.key === this.order.key);
    const value = column?.value;
    const sign = this.order.down ? -1 : 1;
    // Equal ones stay in the order of their ids, so that rows do not jump.
    this.items = value ? [...items].sort((a, b) => {
      const x = value(a), y = value(b);
      if (x === y) return 0;
      return (typeof x === "string" && typeof y === "string"
        ? collator.compare(x, y) : x < y ? -1 : 1) * sign;
    }) : [...items];
    this.grid.setAttribute("aria-rowcount", String(this.items.length + 1));
    this.empty.hidden = this.items.length > 0;
    this.grid.hidden = this.items.length === 0;
    if (this.selected.size) this.dropGone();
    this.window.setRowHeight(this.readHeight());
    this.window.setTotal(this.items.length);
    this.window.now();
  }

  dropGone() {
    const keys = new Map(this.items.map((item) => [this.idOf(item), this.keyOf(item)]));
    const before = this.selected.size;
    for (const id of this.selected) if (keys.get(id) !== this.chosen.get(id)) this.selected.delete(id);
    if (this.selected.size !== before) this.onSelect?.(this.selected);
  }

  draw(first, end) {
    const wanted = new Set();
    for (let i = first; i < end; i += 1) wanted.add(this.idOf(this.items[i]));
    // The row that has the focus stays, even when it is scrolled away: the focus would be lost.
    const held = document.activeElement?.closest?.(".row")?.dataset.id;
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      if (held !== undefined && String(id) === held && this.items.some((each) => this.idOf(each) === id)) continue;
      row.element.remove();
      this.rows.delete(id);
      if (this.unused.length < SPARE_ROWS) this.unused.push(row);
    }
    let moved = false;
    const height = this.window.rowHeight;
    const reachable = this.current !== null && this.rows.has(this.current) ? this.current : null;
    for (let i = first; i < end; i += 1) {
      const item = this.items[i];
      const id = this.idOf(item);
      let row = this.rows.get(id);
      if (!row) {
        row = this.takeRow(id);
        this.rows.set(id, row);
      }
      if (row.index !== i || row.height !== height) {
        moved = true;
        row.index = i;
        row.height = height;
        row.element.style.transform = `translateY(${i * height}px)`;
        row.element.setAttribute("aria-rowindex", String(i + 2));
      }
      row.element.tabIndex = (reachable ?? this.idOf(this.items[first])) === id ? 0 : -1;
      this.showRow(row, item);
      if (row.element.parentNode === null) this.body.append(row.element);
    }
    if (moved) this.arrange();
  }

  /** Put the elements into the order of the rows: readers of screens follow it. */
  arrange() {
    const rows = [...this.rows.values()].sort((a, b) => a.index - b.index);
    let before = null;
    for (const row of rows) {
      const next = before ? before.nextSibling : this.body.firstChild;
      // Moving the element with the focus would lose it.
      if (next !== row.element && !row.element.contains(document.activeElement)) {
        this.body.insertBefore(row.element, next);
      }
      before = row.element;
    }
  }

  takeRow(id) {
    const row = this.unused.pop();
    if (!row) return this.makeRow(id);
    Object.assign(row, { id, item: null, index: -1 });
    row.element.dataset.id = String(id);
    return row;
  }

  makeRow(id) {
    const cells = this.columns.map((column) =>
      el("div", { role: "gridcell", class: `cell ${column.key}${column.number ? " number" : ""}` }));
    const pick = this.selectable
      ? el("div", { role: "gridcell", class: "cell pick" },
        el("input", { type: "checkbox", tabindex: "-1" })) : null;
    const element = el("div", { role: "row", class: "row", data: { id: String(id) } }, pick, cells);
    return { id, element, cells, pick: pick?.firstChild, item: null, index: -1, height: 0 };
  }

  showRow(row, item) {
    if (row.item !== item) {
      row.item = item;
      this.columns.forEach((column, i) => column.show(row.cells[i], item));
      if (row.pick) row.pick.setAttribute("aria-label", `Select ${this.nameOf(item)}`);
    }
    if (row.pick) {
      const on = this.selected.has(row.id);
      row.pick.checked = on;
      row.element.setAttribute("aria-selected", String(on));
    }
  }

  nameOf(item) {
    return short(item.name || this.idOf(item), 100);
  }

  /** Show times that pass: cells with `tick` are filled again. */
  tick() {
    for (const row of this.rows.values()) {
      this.columns.forEach((column, i) => {
        if (column.tick && row.item) column.show(row.cells[i], row.item);
      });
    }
  }

  focused(event) {
    const row = event.target.closest(".row");
    if (!row) return;
    const id = this.find(row);
    if (id !== undefined) {
      this.current = id;
      for (const each of this.rows.values()) each.element.tabIndex = each.id === id ? 0 : -1;
    }
  }

  find(element) {
    for (const row of this.rows.values()) if (row.element === element) return row.id;
    return undefined;
  }

  click(event) {
    const element = event.target.closest(".row");
    if (!element || event.target.closest("a, button.act")) return;
    const id = this.find(element);
    if (id === undefined) return;
    if (event.target.closest(".pick")) this.select(id, event.shiftKey);
    else if (!getSelection().toString()) this.open?.(this.rows.get(id).item, event);
  }

  select(id, range) {
    if (range && this.last !== undefined) {
      const ids = this.items.map(this.idOf);
      const [a, b] = [ids.indexOf(this.last), ids.indexOf(id)].sort((x, y) => x - y);
      if (a >= 0) ids.slice(a, b + 1).forEach((each) => this.selected.add(each));
    } else if (this.selected.has(id)) this.selected.delete(id);
    else this.selected.add(id);
    this.chosen = new Map(this.items.filter((item) => this.selected.has(this.idOf(item))).map((item) => [this.idOf(item), this.keyOf(item)]));
    this.last = id;
    this.window.now();
    this.onSelect?.(this.selected);
  }

  clearSelection() {
    this.selected.clear();
    this.chosen.clear();
    this.window.now();
    this.onSelect?.(this.selected);
  }

  key(event) {
    if (event.target.closest("input:not([type=checkbox]), select, button")) return;
    const row = event.target.closest(".row");
    const index = this.items.findIndex((item) => this.idOf(item) === this.find(row));
    const page = Math.max(1, Math.floor(this.window.scroller.clientHeight / this.window.rowHeight) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      event.preventDefault();
      const to = Math.min(Math.max(0, index + moves[event.key]), this.items.length - 1);
      this.focusRow(to);
    } else if (event.key === "Enter" && index >= 0 && !event.target.closest("a")) {
      event.preventDefault();
      this.open?.(this.items[index], event);
    } else if (event.key === " " && this.selectable && index >= 0) {
      event.preventDefault();
      this.select(this.idOf(this.items[index]), event.shiftKey);
    }
  }

  focusRow(index) {
    const item = this.items[index];
    if (!item) return;
    this.current = this.idOf(item);
    this.window.reveal(index, this.head.offsetHeight);
    this.rows.get(this.current)?.element.focus({ preventScroll: true });
  }

  close() {
    this.narrow.removeEventListener("change", this.onNarrow);
    this.window.close();
  }
}

/** Cells with one text: `show(text)`. */
export const textCell = (make) => (cell, item) => setText(cell, make(item));
