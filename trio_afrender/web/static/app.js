/** The page: which view an address names, the connection, and what is announced. */

import { get } from "./api.js";
import { el, fill, icon, setText, visible } from "./dom.js";
import { Feed } from "./feed.js";
import { moment, setClock } from "./format.js";
import { loadActions } from "./steering.js";
import { makeNotifier } from "./notify.js";
import { tell } from "./messages.js";

const VIEWS = [
  // [path, module, name of the tab, icon]
  [/^\/(?:jobs)?$/, () => import("./jobs.js"), "jobs"],
  [/^\/jobs\/(?<job>\d{1,9})(?:\/(?<part>sheet|why|log|settings|blocks))?$/, () => import("./job.js"), "jobs"],
  [/^\/jobs\/(?<job>\d{1,9})\/(?<block>\d{1,9})\.(?<task>\d{1,9})$/, () => import("./job.js"), "jobs"],
  [/^\/renders$/, () => import("./renders.js"), "renders"],
  [/^\/renders\/(?<render>\d{1,9})$/, () => import("./render.js"), "renders"],
  [/^\/farm$/, () => import("./farm.js"), "farm"],
  [/^\/log$/, () => import("./history.js"), "log"],
];
const TABS = [
  ["/jobs", "Jobs", "jobs", "jobs"], ["/renders", "Renders", "renders", "renders"],
  ["/farm", "Farm", "farm", "farm"], ["/log", "Log", "log", "history"],
];

const main = document.getElementById("main");
const page = {
  session: null,
  feed: null,
  notifier: null,
  scroller: main,
  /** Go to an address of this page; `replace`: without a new entry in the history. */
  go(address, { replace = false, quiet = false } = {}) {
    if (address === location.pathname + location.search) return;
    history[replace ? "replaceState" : "pushState"](null, "", address);
    if (!quiet) route();
  },
  /** Change the part behind the question mark; empty values are left out. */
  setQuery(values) {
    const query = new URLSearchParams(location.search);
    for (const [key, value] of Object.entries(values)) {
      if (value) query.set(key, value);
      else query.delete(key);
    }
    const text = query.toString();
    page.go(location.pathname + (text ? `?${text}` : ""), { replace: true, quiet: true });
  },
  title(text) {
    document.title = text ? `${visible(text).slice(0, 80)} · trio_afrender` : "trio_afrender";
  },
  /** Watch topics (see `Feed.watch`); jobs are watched besides while the user is notified of them. */
  watch(handlers) {
    page.watched = handlers;
    const all = new Map(handlers);
    const own = all.get("jobs");
    if (own) all.set("jobs", both(own, page.notifier.handler));
    else if (page.notifier.active()) all.set("jobs", page.notifier.handler);
    else page.notifier.rest();
    page.feed.watch(all);
  },
  /** Say something to readers of screens. */
  announce(text) {
    setText(document.getElementById("live"), visible(text));
  },
};

const pairs = new WeakMap(); // by the first: the feed tells handlers by their identity

function both(one, other) {
  if (pairs.has(one)) return pairs.get(one);
  const call = (name) => (data) => {
    one[name]?.(data);
    other[name]?.(data);
  };
  const made = { snapshot: call("snapshot"), change: call("change"), gone: call("gone") };
  pairs.set(one, made);
  return made;
}

let view = null;
let turn = 0;

async function route() {
  if (!page.session) return; // `start` comes here when it has one
  const path = location.pathname;
  const found = VIEWS.find(([pattern]) => pattern.test(path));
  const mine = ++turn; // a view that is still being loaded is not wanted any more
  if (!found) {
    drawTabs("");
    show(notFound());
    return;
  }
  const [pattern, load, tab] = found;
  const names = { ...pattern.exec(path).groups };
  drawTabs(tab);
  if (view?.moveTo?.(names)) return; // the view itself shows another part
  try {
    const module = await load();
    if (mine !== turn) return;
    const made = module.makeView(page, names);
    show(made);
  } catch (error) {
    if (mine !== turn) return;
    console.warn(error);
    tell(`This view cannot be loaded: ${error.message}`, { kind: "error" });
  }
}

function show(made) {
  const first = view === null;
  view?.close?.();
  view = made;
  main.scrollTop = 0;
  fill(main, made.element);
  made.shown?.();
  // A new view begins at its heading, for keyboards and readers of screens.
  if (!first) (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

function notFound() {
  page.title("Not found");
  page.watch(new Map());
  return { element: el("div", { class: "view" },
    el("h1", { tabindex: "-1" }, "There is no such view"),
    el("p", null, "The address names nothing of this page. ", el("a", { href: "/jobs" }, "All jobs"))) };
}

function drawTabs(current) {
  const nav = document.getElementById("nav");
  if (nav.childElementCount === 0) {
    fill(nav, TABS.map(([href, text, key, image]) =>
      el("a", { href, data: { key } }, icon(image), el("span", null, text))));
  }
  for (const link of nav.children) {
    if (link.dataset.key === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function drawConnection(state) {
  const banner = document.getElementById("banner");
  document.body.classList.toggle("stale", state.up === false);
  const status = document.getElementById("server");
  status?.classList.toggle("down", state.up === false);
  if (state.up) {
    if (!banner.hidden) page.announce("The connection is back.");
    banner.hidden = true;
    return;
  }
  banner.hidden = false;
  const since = state.since ? ` Since ${moment(state.since)}; what is shown is from then.` : "";
  const more = state.login
    ? " Open the link that trio_afrender has printed in its terminal." : `${since} It is tried again.`;
  fill(banner, el("strong", null, state.text), more);
}

function drawSession() {
  const { session } = page;
  fill(document.getElementById("status"),
    el("span", { class: "server", id: "server", title: `trio_afrender ${session.version}` },
      el("span", { class: "light", "aria-hidden": "true" }), el("bdi", null, session.server)),
    el("span", { class: "who" }, el("bdi", null, session.name ?? session.user),
      session.steer ? null : el("span", { class: "chip soft" }, "read-only")),
    page.notifier.button);
}

/** Load the page again if the server is another one, or the user has other rights than before. */
function compareSession(session) {
  setClock(session.time);
  const differs = ["version", "server", "kind", "steer", "user"].some((key) => session[key] !== page.session[key]);
  if (differs) location.reload();
}

function noSession(error) {
  page.title("");
  const closed = error.status === 401;
  fill(main, el("div", { class: "view narrow" },
    el("h1", null, closed ? "This page needs a login" : "The farm cannot be shown"),
    el("p", null, error.message),
    closed ? el("p", null, "Open the link that ", el("code", null, "trio_afrender web"), " has printed in its terminal.") : null));
}

async function start() {
  try {
    page.session = await get("/api/session");
  } catch (error) {
    noSession(error);
    if (error.status !== 401) setTimeout(start, 3000);
    return;
  }
  setClock(page.session.time);
  page.feed = new Feed(drawConnection, compareSession);
  page.notifier = makeNotifier(page);
  page.notifier.listen(() => page.watched && page.watch(page.watched));
  drawSession();
  loadActions(page);
  await route();
}

/** Links of this page change the view without loading it again. */
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.hash && link.pathname === location.pathname) {
    event.preventDefault();
    document.getElementById(link.hash.slice(1))?.focus();
    return;
  }
  if (/^\/(api|static|login)(\/|$)/.test(link.pathname)) return;
  if (!page.session) return; // loading the page anew asks for one again
  event.preventDefault();
  page.go(link.pathname + link.search);
});
addEventListener("popstate", () => route());
setInterval(() => {
  if (!document.hidden) view?.tick?.();
}, 1000);

start();
