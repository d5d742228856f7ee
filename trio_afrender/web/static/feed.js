/**
 * The events of the server: one stream for everything that is on the screen.
 *
 * A stream is opened for a list of topics, and anew when the list changes. Each topic begins with a
 * snapshot, so a lost stream costs nothing but the time until the next one.
 */

import { setClock } from "./format.js";

const SILENCE = 40_000; // ms without an event, after which a stream counts as dead
const HIDDEN_LIMIT = 20_000; // ms in the background, after which only what notifications need is watched
const MAX_DELAY = 10_000;
const ANSWER_TIMEOUT = 10_000; // ms until a question about the connection counts as not answered

export class Feed {
  /**
   * `changed(state)` is called with {up, text, since, login} whenever the connection changes,
   * `back(session)` when the server answers again: it may be another one.
   */
  constructor(changed, back) {
    this.changed = changed;
    this.back = back;
    this.handlers = new Map();
    this.served = new Map(); // the handlers that the stream was opened for
    this.background = [];
    this.source = null;
    this.opened = "";
    this.received = false; // whether the last stream has brought an event
    this.delay = 500;
    this.timer = 0;
    this.lastEvent = 0;
    this.state = { up: null, text: "" };
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("pagehide", () => this.shut());
    addEventListener("pageshow", (event) => event.persisted && this.reopen());
    addEventListener("online", () => this.reopen());
    this.lastBeat = Date.now();
    setInterval(() => this.beat(), 5000);
  }

  /**
   * Watch topics: a Map of topic -> {snapshot(data), change(data), gone(data)}. Others are watched
   * no more. `background`: topics that are also watched while the page cannot be seen.
   */
  watch(handlers) {
    this.handlers = handlers;
    clearTimeout(this.asked);
    // Views may change several times in a moment: a stream for each would be waste.
    this.asked = setTimeout(() => {
      const same = [...handlers].every(([topic, handler]) => this.served.get(topic) === handler);
      if (this.wanted() !== this.opened || !same) this.reopen();
    }, 30);
  }

  watchInBackground(topics) {
    this.background = topics;
  }

  wanted() {
    const all = document.hidden && this.asleep ? this.background : [...this.handlers.keys()];
    return all.join(",");
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiddenSince = Date.now();
      this.hiding = setTimeout(() => this.sleep(), HIDDEN_LIMIT);
    } else if (this.asleep || Date.now() - this.lastEvent > SILENCE) {
      this.asleep = false;
      this.reopen();
    }
  }

  sleep() {
    this.asleep = true;
    this.reopen();
  }

  /** Notice that the computer has slept, or that nothing has come for long. */
  beat() {
    const time = Date.now();
    const slept = time - this.lastBeat > 30_000;
    this.lastBeat = time;
    if (document.hidden && !this.asleep && time - this.hiddenSince > HIDDEN_LIMIT) this.sleep();
    else if (this.source && (slept || time - this.lastEvent > SILENCE)) this.reopen();
  }

  shut() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.opened = "";
  }

  reopen() {
    this.shut();
    const topics = this.wanted();
    if (!topics) return;
    this.opened = topics;
    this.served = new Map(this.handlers);
    this.lastEvent = Date.now();
    this.received = false;
    const address = `/api/events?topics=${encodeURIComponent(topics)}`;
    const source = new EventSource(address);
    this.source = source;
    const listen = (name, take) => source.addEventListener(name, (event) => {
      this.lastEvent = Date.now();
      this.delay = 500;
      if (source !== this.source) return;
      this.received = true;
      take(JSON.parse(event.data));
    });
    listen("server", (data) => this.server(data));
    listen("time", (data) => setClock(data.time));
    for (const name of ["snapshot", "change", "gone"]) {
      // Another view's handler of the same topic has had no snapshot: it waits for its own stream.
      listen(name, (data) => {
        const handler = this.handlers.get(data.topic);
        if (handler && handler === this.served.get(data.topic)) handler[name]?.(data);
      });
    }
    source.onerror = () => {
      if (source === this.source) this.failed(address);
    };
  }

  server(data) {
    this.tell(data.connected
      ? { up: true, text: "" }
      : { up: false, text: data.error || "The farm does not answer.", since: data.since });
  }

  /** Try again, ever less often. EventSource's own attempts end at the first answer with an error. */
  failed(address) {
    this.shut();
    const delay = this.delay * (0.75 + Math.random() / 2); // not all viewers at the same moment
    this.delay = Math.min(MAX_DELAY, this.delay * 2);
    // A page that is being left ends its stream too: that is no fault.
    this.timer = setTimeout(() => this.explain(address, delay), 200);
  }

  async explain(address, delay) {
    const refused = !this.received;
    const ask = (path) => fetch(path, { signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
    let text = "The server of this page does not answer.";
    let login = false;
    try {
      let answer = await ask("/api/session");
      if (answer.ok) {
        text = "The connection was interrupted.";
        this.back(await answer.json());
        // An EventSource does not tell with which words a stream was refused.
        if (refused && !this.source) answer = await ask(address);
      }
      if (!answer.ok) {
        login = answer.status === 401;
        text = (await answer.json().catch(() => ({}))).error ?? `The server answers ${answer.status}.`;
      } else if (!answer.bodyUsed) await answer.body.cancel();
    } catch {
      // It is the text above.
    }
    if (this.source) return; // opened again meanwhile
    this.tell({ up: false, text, login });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.reopen(), delay);
  }

  tell(state) {
    const since = state.up ? 0 : state.since || this.state.since || Date.now() / 1000;
    if (state.up === this.state.up && state.text === this.state.text) return;
    this.state = { ...state, since };
    this.changed(this.state);
  }
}

/** Call `draw` once before the next frame of the screen, however often it is asked. */
export function oncePerFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    const go = () => {
      asked = false;
      draw();
    };
    if (document.hidden) setTimeout(go, 200); // frames stop in the background
    else requestAnimationFrame(go);
  };
}

/** A table of rows with ids. `changed(ids)` is called for each event, with null for a snapshot. */
export class RowStore {
  constructor(changed = () => {}) {
    this.rows = new Map();
    this.ready = false;
    this.changed = changed;
  }

  snapshot(data) {
    this.rows = new Map(data.rows.map((row) => [row.id, row]));
    this.ready = true;
    this.changed(null);
  }

  change(data) {
    const ids = [];
    for (const id of data.gone ?? []) {
      this.rows.delete(id);
      ids.push(id);
    }
    for (const row of data.rows ?? []) {
      const old = this.rows.get(row.id);
      // A new object: views compare objects to find out what has changed.
      this.rows.set(row.id, old ? { ...old, ...row } : row);
      ids.push(row.id);
    }
    this.changed(ids);
  }

  gone() {
    this.rows.clear();
    this.changed(null);
  }
}
