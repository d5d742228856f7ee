/** The tasks of a job, from the compact rows of the server. */

import { short } from "./dom.js";
import { now, span } from "./format.js";
import { KINDS, taskKind, words } from "./states.js";

/** One task. Texts are made when they are read: of ten thousand tasks few are on the screen. */
export class Task {
  constructor(store, row) {
    const [block, task, bits = 0, percent = 0, starts = 0, errors = 0, started = 0, changed = 0, render = 0] = row;
    Object.assign(this, { store, block, task, bits, percent, starts, errors, started, changed, renderIndex: render });
    this.key = `${block}.${task}`;
    this.states = words(bits);
    this.kind = taskKind(this.states);
  }

  get id() {
    return `${this.store.job}.${this.key}`;
  }

  get name() {
    return this.store.blocks.get(this.block)?.names?.[this.task] ?? `task ${this.task}`;
  }

  get blockName() {
    return this.store.blocks.get(this.block)?.name ?? `block ${this.block}`;
  }

  get render() {
    return this.renderIndex ? this.store.renders[this.renderIndex - 1] ?? "" : "";
  }

  /** What stands in its cell: the number of its frame, else the beginning of its name. */
  get label() {
    const found = /(-?\d{1,9})\s*$/.exec(this.name);
    return found ? found[1] : short(this.name, 9);
  }

  /** Seconds that it ran, or has run so far. */
  get seconds() {
    if (!this.started) return 0;
    const running = this.kind === "running" || this.kind === "lost";
    return Math.max(0, (running ? now() : this.changed) - this.started);
  }

  /** Whether it may have an image: it has been started. */
  get mayHaveImage() {
    return this.starts > 0;
  }

  get image() {
    return `/api/thumbnail/${this.id}?v=${Math.floor(this.changed)}.${this.starts}`;
  }

  /** Everything in a line. */
  get text() {
    const parts = [`${short(this.name, 80)}: ${KINDS[this.kind]}`];
    if (this.kind === "running" || this.kind === "lost") parts[0] += ` ${this.percent} %`;
    if (this.store.blocks.size > 1) parts.push(`block ${short(this.blockName, 60)}`);
    if (this.render) parts.push(`on ${short(this.render, 60)}`);
    if (this.seconds) parts.push(span(this.seconds));
    if (this.errors) parts.push(this.errors === 1 ? "1 error" : `${this.errors} errors`);
    return parts.join(", ");
  }
}

/** Takes the topic "tasks.JOB". `changed(tasks)` gets the changed ones, null for a snapshot. */
export class TaskStore {
  constructor(job, changed) {
    Object.assign(this, { job, changed, tasks: new Map(), blocks: new Map(), renders: [], ready: false, error: "", serial: null });
  }

  snapshot(data) {
    this.serial = data.serial;
    this.name = data.name;
    this.blocks = new Map(data.blocks.map((block) => [block.block, block]));
    this.renders = data.renders ?? [];
    this.tasks = new Map();
    for (const row of data.rows) {
      const task = new Task(this, row);
      this.tasks.set(task.key, task);
    }
    this.ready = true;
    this.error = "";
    this.changed(null);
  }

  change(data) {
    this.renders.push(...(data.more_renders ?? []));
    const tasks = (data.rows ?? []).map((row) => new Task(this, row));
    for (const task of tasks) this.tasks.set(task.key, task);
    this.changed(tasks);
  }

  gone(data) {
    this.error = data.error || "This job is gone.";
    this.changed(null);
  }

  /** How steering names a task. */
  node(task) {
    return { id: task.id, serial: this.serial };
  }
}
