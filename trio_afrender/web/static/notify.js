/** Notifications of the browser when a job ends or fails, for jobs that the user has chosen. */

import { button, el, fill, icon, visible } from "./dom.js";
import { RowStore } from "./feed.js";
import { count } from "./format.js";
import { tell } from "./messages.js";

const KEY = "trio_afrender.notify";

/**
 * Keep track of jobs. `notifier.button` switches notifications of all jobs on and off,
 * `notifier.handler` takes the topic "jobs"; `wants(job)` and `toggle(job)` are about one job.
 */
export function makeNotifier(page) {
  let chosen = read(page.session.server);
  const before = new Map(); // id of a job -> {key, state} when it was looked at last
  const store = new RowStore();
  const element = button("", toggleAll, { class: "plain bell" });
  const listeners = new Set();

  function save() {
    try {
      localStorage.setItem(`${KEY} ${page.session.server}`, JSON.stringify(chosen));
    } catch {
      // A browser without storage forgets it with the page.
    }
    draw();
    page.feed.watchInBackground(active() ? ["jobs"] : []);
    for (const listen of listeners) listen();
  }

  const active = () => chosen.all || chosen.jobs.length > 0;
  const keyOf = (job) => `${job.id}.${job.serial}`;

  async function allowed() {
    if (!("Notification" in window)) {
      tell("This browser has no notifications.", { kind: "error" });
      return false;
    }
    const answer = Notification.permission === "default"
      ? await Notification.requestPermission() : Notification.permission;
    if (answer !== "granted") {
      tell("The browser does not allow notifications of this page.", { kind: "error" });
      return false;
    }
    return true;
  }

  async function toggleAll() {
    if (!chosen.all && !(await allowed())) return;
    chosen = { ...chosen, all: !chosen.all };
    save();
    tell(chosen.all ? "You are notified when a job ends or fails." : "No more notifications of all jobs.");
  }

  function draw() {
    const text = "Notify me when a job ends or fails";
    fill(element, icon("bell"), el("span", { class: "hide" }, text));
    element.setAttribute("aria-pressed", String(chosen.all));
    element.title = text;
  }

  let begun = false;

  function look() {
    for (const job of store.rows.values()) {
      const now = job.states.includes("ERR") ? "failed" : job.states.includes("DON") ? "done" : "";
      // A short job may be over when it is seen for the first time.
      const last = before.get(job.id);
      const old = last?.key === keyOf(job) ? last.state : begun ? "" : now;
      if (!last || last.key !== keyOf(job) || old !== now) before.set(job.id, { key: keyOf(job), state: now });
      if (old === now || !now) continue;
      if (chosen.all || chosen.jobs.includes(keyOf(job))) notify(job, now);
    }
    begun = true;
  }

  function notify(job, end) {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    const name = visible(job.name).slice(0, 100);
    const text = end === "failed" ? `${count(job.error, "task")} of ${count(job.tasks, "task")} failed`
      : `${count(job.tasks, "task")} ${job.tasks === 1 ? "is" : "are"} done`;
    const made = new Notification(`${name} ${end === "failed" ? "has failed tasks" : "is done"}`,
      { body: text, tag: `job ${keyOf(job)}`, icon: "/static/icon.svg" });
    made.onclick = () => {
      focus();
      page.go(`/jobs/${job.id}`);
      made.close();
    };
  }

  draw();
  page.feed.watchInBackground(active() ? ["jobs"] : []);
  return {
    button: element,
    active,
    handler: {
      snapshot(data) {
        store.snapshot(data);
        for (const id of before.keys()) if (!store.rows.has(id)) before.delete(id);
        look();
      },
      change(data) {
        store.change(data);
        for (const id of data.gone ?? []) before.delete(id);
        look();
      },
      gone() {},
    },
    /** Jobs are not watched for a while: what happens to them meanwhile is not notified afterwards. */
    rest() {
      begun = false;
      before.clear();
    },
    wants: (job) => chosen.jobs.includes(keyOf(job)),
    async toggle(job) {
      const key = keyOf(job);
      if (chosen.jobs.includes(key)) {
        chosen = { ...chosen, jobs: chosen.jobs.filter((each) => each !== key) };
      } else {
        if (!(await allowed())) return;
        chosen = { ...chosen, jobs: [...chosen.jobs, key].slice(-100) };
      }
      save();
    },
    /** Call something whenever the choice changes; returns a function that ends it. */
    listen(call) {
      listeners.add(call);
      return () => listeners.delete(call);
    },
  };
}

function read(server) {
  try {
    const found = JSON.parse(localStorage.getItem(`${KEY} ${server}`) ?? "{}");
    return { all: found.all === true, jobs: Array.isArray(found.jobs) ? found.jobs.map(String).slice(-100) : [] };
  } catch {
    return { all: false, jobs: [] };
  }
}
