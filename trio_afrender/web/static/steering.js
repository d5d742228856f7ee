/**
 * Changes of jobs, blocks, tasks, renders, users and pools: what a change will do is shown before it
 * is done, what it did afterwards, with a way back where there is one.
 */

import { get, post } from "./api.js";
import { button, el, fill, icon, outside } from "./dom.js";
import { tell } from "./messages.js";

let page = null;
let known = null;
let reported = false; // that the actions cannot be read
const waiting = [];
const RETRY_DELAY = 3000; // ms until what could not be read is asked for again

/** Whether an error may be another one soon: no connection, too many requests, a host without resources. */
const mayPass = (error) => !error.status || error.status === 429 || error.status >= 500;

/** Read what can be done, if this user may steer. */
export async function loadActions(given) {
  page = given;
  if (!page.session.steer) return;
  try {
    known = await get("/api/actions");
  } catch (error) {
    if (!reported) tell(`What can be changed cannot be read: ${error.message}`, { kind: "error" });
    reported = true;
    if (mayPass(error)) setTimeout(loadActions, RETRY_DELAY, given);
    return;
  }
  for (const call of waiting.splice(0)) call();
}

/** Call something when the actions are known: never, if this user may not steer. */
export function whenSteering(call) {
  if (known) call();
  else if (!page || page.session.steer) waiting.push(call); // what is kept here is kept with its whole view
}

/** What can be set of a kind of node: {name, expected, type, table, choices}. */
export const settingsOf = (kind) => known?.settings?.[kind] ?? [];

/** The shown name of a change, without those that need more than a click. */
const verbsOf = (kind) => (known?.verbs ?? []).filter((each) => each.kind === kind && each.verb !== "set");

/**
 * Make the buttons of a kind of node: `first` names those that stand in the bar, the others are in a
 * menu. `nodesOf()` gives the nodes at the time of the click.
 */
export function makeToolbar(kind, nodesOf, { first = [], label, small = false } = {}) {
  const element = el("div", { class: `tools${small ? " small" : ""}`, role: "group", "aria-label": label ?? `Change the ${kind}` });
  element.hidden = true;
  whenSteering(() => {
    const verbs = verbsOf(kind);
    const here = first.map((name) => verbs.find((each) => each.verb === name)).filter(Boolean);
    const rest = verbs.filter((each) => !here.includes(each));
    fill(element,
      here.map((each) => button(each.label, () => change(kind, each.verb, nodesOf()), { class: "act", data: { verb: each.verb } })),
      rest.length ? makeMenu(rest, (verb) => change(kind, verb, nodesOf())) : null);
    element.hidden = false;
  });
  return element;
}

/** A button with a menu of changes. */
function makeMenu(verbs, choose) {
  const items = verbs.map((each) => el("button", {
    type: "button", role: "menuitem", tabindex: "-1", class: each.asks ? "danger" : null, data: { verb: each.verb },
    on: { click: () => pick(each.verb) },
  }, each.label));
  const menu = el("div", { role: "menu", class: "menu", popover: "auto", "aria-label": "More changes" }, items);
  const opener = el("button", { type: "button", class: "act more", "aria-haspopup": "menu", "aria-expanded": "false",
    on: { click: toggle, keydown: (event) => event.key === "ArrowDown" && (event.preventDefault(), open()) } },
  icon("more"), el("span", { class: "hide" }, "More changes"));

  function toggle() {
    if (opener.getAttribute("aria-expanded") === "true") menu.hidePopover();
    else open();
  }

  function open() {
    menu.showPopover();
    const at = opener.getBoundingClientRect();
    const left = Math.min(at.left, innerWidth - menu.offsetWidth - 8);
    const below = at.bottom + 4;
    const top = below + menu.offsetHeight > innerHeight ? Math.max(8, at.top - menu.offsetHeight - 4) : below;
    menu.style.left = `${Math.max(8, left)}px`;
    menu.style.top = `${top}px`;
    items[0]?.focus();
  }

  function pick(verb) {
    menu.hidePopover();
    opener.focus();
    choose(verb);
  }

  menu.addEventListener("toggle", (event) => opener.setAttribute("aria-expanded", String(event.newState === "open")));
  menu.addEventListener("keydown", (event) => {
    const index = items.indexOf(document.activeElement);
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      items[(to + items.length) % items.length].focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      menu.hidePopover();
      opener.focus();
    }
  });
  return el("span", { class: "menubox" }, opener, menu);
}

/** Ask what a change will do, show it, and do it if the user agrees. */
export async function change(kind, verb, nodes, values = {}) {
  if (!nodes.length) {
    tell(`Select at least one ${kind} first.`, { kind: "error" });
    return false;
  }
  const body = { kind, verb, nodes, values };
  let seen;
  try {
    seen = await post("/api/preview", body);
  } catch (error) {
    tell(error.message, { kind: "error" });
    return false;
  }
  const label = known.verbs.find((each) => each.kind === kind && each.verb === verb)?.label ?? verb;
  if (!(await agree(label, seen))) return false;
  try {
    report(await post("/api/act", body), Boolean(seen.undo));
    return true;
  } catch (error) {
    tell(error.message, { kind: "error" });
    return false;
  }
}

function report(done, undoable) {
  const undo = undoable && done.log !== undefined && done.log !== null
    ? { text: "Undo", run: () => undoChange(done.log) } : null;
  if (done.text) tell(done.text, { action: undo });
  for (const problem of (done.problems ?? []).slice(0, 3)) tell(problem, { kind: "error" });
  for (const hint of done.hints ?? []) tell(hint, { kind: "hint" });
}

/** Take a change back. */
export async function undoChange(id) {
  try {
    report(await post("/api/undo", { id }), false);
  } catch (error) {
    tell(error.message, { kind: "error" });
  }
}

/** Show what will be done; true if the user wants it. */
function agree(label, seen) {
  const problems = seen.problems ?? [];
  const nothing = seen.count === 0;
  const sentence = seen.text ? seen.text[0].toUpperCase() + seen.text.slice(1) : "";
  const yes = el("button", { type: "submit", value: "yes", class: `primary${seen.asks ? " danger" : ""}`, disabled: nothing }, label);
  const dialog = el("dialog", { class: "agree", "aria-labelledby": "agree-title", "aria-describedby": "agree-text" },
    el("form", { method: "dialog" },
      el("h2", { id: "agree-title" }, nothing ? `${label}: nothing to do` : `${label}?`),
      el("p", { id: "agree-text", class: "sentence" }, outside(sentence, 600)),
      problems.length ? el("ul", { class: "problems" }, problems.slice(0, 8).map((each) => el("li", null, outside(each, 300))),
        problems.length > 8 ? el("li", null, `and ${problems.length - 8} more`) : null) : null,
      nothing ? null : el("p", { class: "muted" }, seen.undo
        ? ["It can be undone: ", outside(seen.undo, 500), "."] : "It cannot be undone."),
      el("div", { class: "buttons" }, el("button", { type: "submit", value: "no" }, nothing ? "Close" : "Cancel"), nothing ? null : yes)));
  document.body.append(dialog);
  const back = document.activeElement;
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (back?.isConnected) back.focus({ preventScroll: true });
      resolve(dialog.returnValue === "yes");
    });
    dialog.returnValue = "";
    dialog.showModal();
    // Enter does what is harmless; what loses work has to be chosen.
    (seen.asks || nothing ? dialog.querySelector("button[value=no]") : yes).focus();
  });
}

/**
 * Make the parameters of a node, editable in place. `nodeOf()` identifies it; `known()` are values
 * that are shown elsewhere, as far as they are known. `read()` gets all of them from the server, again
 * after a change and when `update()` finds that known ones have changed.
 */
export function makeSettings(kind, nodeOf, known) {
  const list = el("div", { class: "settings" });
  const search = el("input", { type: "search", placeholder: "Find a parameter", "aria-label": "Find a parameter",
    on: { input: () => filter() } });
  const element = el("section", { class: "settingsbox" }, el("div", { class: "filters" }, search), list);
  element.hidden = true;
  const rows = [];
  let values = {};
  let readWith = null;
  let turn = 0;

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    for (const row of rows) row.element.hidden = Boolean(wanted) && !row.name.toLowerCase().includes(wanted);
  }

  const keyOf = (given) => JSON.stringify(rows.map((row) => given[row.name]));

  async function read() {
    if (!page.session.steer) return;
    readWith = keyOf(known());
    const mine = ++turn;
    // Without an answer, what is not known is not shown, and asked for again.
    const answer = await get(`/api/values/${kind}/${nodeOf().id}`).catch((error) => ({ error }));
    if (mine !== turn) return;
    values = answer.values ?? {};
    show();
    if (answer.error && mayPass(answer.error)) setTimeout(() => mine === turn && element.isConnected && read(), RETRY_DELAY);
  }

  function show() {
    const all = { ...known(), ...values };
    for (const row of rows) row.show(all[row.name]);
  }

  function update() {
    if (readWith !== null && readWith !== keyOf(known())) read();
    else show();
  }

  whenSteering(() => {
    for (const setting of settingsOf(kind)) {
      const row = makeSetting(kind, setting, nodeOf, read);
      rows.push(row);
      list.append(row.element);
    }
    element.hidden = false;
    update();
  });
  return { element, update, read };
}

let settingsMade = 0;

function makeSetting(kind, setting, nodeOf, changed) {
  const id = `set-${kind}-${setting.name}-${(settingsMade += 1)}`; // a view may show several nodes of a kind
  const shown = el("span", { class: "now" });
  let value;
  const field = setting.type === "flag"
    ? el("select", { id }, el("option", { value: "true" }, "yes"), el("option", { value: "false" }, "no"))
    : setting.type === "choice"
      ? el("select", { id }, (setting.choices ?? []).map((each) => el("option", { value: each }, each)))
      : el("input", { id, type: "text", autocomplete: "off", spellcheck: "false",
        inputmode: setting.type === "integer" ? "numeric" : null,
        placeholder: setting.table ? "NAME=VALUE" : setting.expected });
  const form = el("form", { hidden: true, on: { submit: save, keydown: (event) => event.key === "Escape" && stop() } },
    field, el("button", { type: "submit", class: "primary" }, "Set"), button("Cancel", stop));
  const edit = button("Edit", begin, { class: "act", "aria-label": `Edit ${setting.name}` });
  const element = el("div", { class: "setting" },
    el("label", { for: id, title: setting.expected }, setting.name), shown, edit, form);

  function begin() {
    field.value = setting.table || value === undefined ? (setting.type === "flag" ? "true" : field.value) : text(value);
    form.hidden = false;
    edit.hidden = shown.hidden = true;
    field.focus();
    field.select?.();
  }

  function stop() {
    form.hidden = true;
    edit.hidden = shown.hidden = false;
    edit.focus();
  }

  async function save(event) {
    event.preventDefault();
    let values = { [setting.name]: field.value };
    if (setting.table) {
      const [entry, ...rest] = field.value.split("=");
      if (!rest.length || !entry.trim()) {
        tell(`${setting.name} is a table: write NAME=VALUE.`, { kind: "error" });
        return;
      }
      values = { [`${setting.name}.${entry.trim()}`]: rest.join("=") };
    }
    if (await change(kind, "set", [nodeOf()], values)) {
      stop();
      changed();
    }
  }

  const text = (given) => (Array.isArray(given) ? given.join(",") : String(given));
  return {
    name: setting.name,
    element,
    show(now) {
      value = now;
      const empty = now === undefined || now === null || now === "" || (Array.isArray(now) && !now.length);
      if (empty) fill(shown, el("span", { class: "muted" }, "not set"));
      else if (now === true || now === false) fill(shown, now ? "yes" : "no");
      else if (typeof now === "object" && !Array.isArray(now)) {
        const entries = Object.entries(now);
        fill(shown, entries.length ? entries.map(([key, each]) =>
          el("span", { class: "entry" }, el("bdi", null, key), " = ", el("bdi", null, String(each))))
          : el("span", { class: "muted" }, "not set"));
      } else fill(shown, el("bdi", null, text(now).slice(0, 2000)));
    },
  };
}
