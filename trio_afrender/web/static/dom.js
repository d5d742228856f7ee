/** Elements and texts. Everything is set as text: no function here takes HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Characters that a reader cannot see or that change the direction of what follows: control
 * characters, marks of direction, zero width, separators of lines, halves of surrogate pairs.
 */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text with hidden characters replaced by their names, as `⟨U+202E⟩`. */
export function visible(text) {
  const given = String(text ?? "");
  HIDDEN.lastIndex = 0;
  return given.replace(HIDDEN, (found) => `⟨${name(found)}⟩`);
}

function name(character) {
  const code = character.charCodeAt(0);
  if (code === 27) return "ESC";
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A text on one line, visible, cut in the middle to at most `most` characters. */
export function short(text, most = 200) {
  let given = String(text ?? "");
  if (given.length > most) {
    const half = Math.floor((most - 1) / 2);
    given = `${given.slice(0, half)}…${given.slice(-half)}`;
  }
  return visible(given.replace(/[\n\t]+/g, " "));
}

/**
 * Make an element. `props`: `class`, `on` (listeners), `data` (dataset); other keys are attributes;
 * true sets an empty one, null and false set none. Children: nodes, texts, lists of these, null.
 */
export function el(tag, props = null, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "on") {
      for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    } else if (key === "data") Object.assign(made.dataset, value);
    else if (key === "value") made.value = value; // the text itself: it is compared, not shown
    else made.setAttribute(key, value === true ? "" : visible(value));
  }
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.append(child instanceof Node ? child : visible(child));
  }
}

/** Make an element of SVG. */
export function svg(tag, props = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** A text from outside: it cannot change the direction of what stands beside it. */
export function outside(text, most = 200) {
  const given = String(text ?? "");
  const made = el("bdi", null);
  made.textContent = short(given, most);
  return made;
}

/** Replace the children of an element. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
  return parent;
}

/** Set the text of an element, if it is another one: equal texts cost no layout. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const shown = new WeakMap();

/** Whether what an element shows differs from the last time; `key` stands for it. */
export function differs(element, key) {
  if (shown.get(element) === key) return false;
  shown.set(element, key);
  return true;
}

/** A button with a text. */
export function button(text, click, props = {}) {
  return el("button", { type: "button", ...props, on: { click } }, text);
}

/** A box of lines that the keyboard scrolls. A name needs a role: that of `pre` may have none. */
export function makeLines(label) {
  return el("pre", { class: "lines", role: "group", tabindex: "0", "aria-label": label });
}

const ICONS = {
  jobs: "M3 5h14M3 10h14M3 15h9",
  renders: "M3 4h14v9H3zM7 17h6M10 13v4",
  farm: "M4 17V8l6-4 6 4v9M8 17v-5h4v5",
  history: "M10 5v5l3.5 2M10 2.5a7.5 7.5 0 1 1-7 4.8M3 3v4h4",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  close: "M5 5l10 10M15 5L5 15",
  back: "M12.5 4.5L7 10l5.5 5.5",
  next: "M7.5 4.5L13 10l-5.5 5.5",
  bell: "M5 13.5V9a5 5 0 0 1 10 0v4.5l1.5 1.5h-13zM8.5 17h3",
  grid: "M3 3h6v6H3zM11 3h6v6h-6zM3 11h6v6H3zM11 11h6v6h-6z",
  table: "M3 4h14v12H3zM3 8h14M3 12h14M8 4v12",
  image: "M3 4h14v12H3zM3 13l4-4 4 4 2-2 4 4M13 7.5h.01",
};

/** A small picture without a meaning of its own: its button has the text. */
export function icon(which) {
  const path = svg("path", { d: ICONS[which] });
  return svg("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, path);
}
