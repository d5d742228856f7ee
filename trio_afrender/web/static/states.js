/** Afanasy's words, bits and letters of states: what they mean, and which colour they have. */

/** Word -> [kind (a class and a colour), meaning] of tasks, blocks and jobs. */
const TASK_WORDS = {
  RUN: ["running", "running"],
  ERR: ["error", "failed"],
  SKP: ["skipped", "skipped"],
  DON: ["done", "done"],
  OFF: ["paused", "paused"],
  SUS: ["paused", "suspended"],
  WRC: ["lost", "its render is not connected"],
  WRN: ["warning", "with a warning"],
  RER: ["warning", "failed before, will be tried again"],
  PER: ["warning", "its output has an error"],
  PBR: ["warning", "its output has a bad result"],
  PSC: ["done", "its output says success"],
  WDP: ["waiting", "waits for other tasks, blocks or jobs"],
  WTM: ["waiting", "waits for its time"],
  PPA: ["paused", "previews done, waits for approval"],
  TRY: ["ready", "comes next"],
  STO: ["paused", "stopped"],
  STE: ["paused", "is being stopped"],
  RDY: ["ready", "ready"],
};

/** The same for renders. */
const RENDER_WORDS = {
  ONL: ["ready", "online"],
  OFF: ["off", "offline"],
  NbY: ["warning", "nimby: only jobs of its own user"],
  NBY: ["warning", "NIMBY: no jobs"],
  RUN: ["running", "busy with tasks"],
  DRT: ["ready", "has limits of its own"],
  WFL: ["waiting", "is going to sleep"],
  WSL: ["waiting", "asleep"],
  WWK: ["waiting", "is being woken"],
  PAU: ["paused", "paused"],
  SIC: ["error", "sick: tasks of too many users failed on it"],
};

export const taskWord = (word) => TASK_WORDS[word] ?? ["ready", word];
export const renderWord = (word) => RENDER_WORDS[word] ?? ["ready", word];

/** Bit -> word of tasks, in the order in which words are written. */
const BITS = [
  [0, "RDY"], [1, "RUN"], [4, "DON"], [5, "ERR"], [8, "SKP"], [9, "OFF"], [10, "WRN"], [11, "PER"],
  [12, "PBR"], [13, "PSC"], [2, "WDP"], [3, "WTM"], [6, "STO"], [7, "STE"], [16, "PPA"], [17, "RER"],
  [18, "WRC"], [19, "TRY"], [20, "SUS"],
];

/** The words of bits. */
export const words = (bits) => BITS.filter(([bit]) => (bits >> bit) & 1).map(([, word]) => word);

/** What decides the colour of a task, most important first. */
const ORDER = ["SUS", "WRC", "ERR", "RUN", "SKP", "DON", "WDP", "WTM", "RER", "RDY"];

/** The kind of a task with some words: one of `KINDS`. */
export function taskKind(states) {
  const found = ORDER.find((word) => states.includes(word));
  if (found === "DON" && states.includes("WRN")) return "warning";
  return found ? TASK_WORDS[found][0] : "ready";
}

/** Kinds of tasks with their names, in the order of legends and filters. */
export const KINDS = {
  running: "running",
  done: "done",
  warning: "with warnings",
  error: "failed",
  skipped: "skipped",
  lost: "render lost",
  paused: "suspended",
  ready: "ready",
  waiting: "waiting",
};

/** Letter of a progress bar -> kind. */
const LETTERS = {
  U: "paused", C: "lost", E: "error", Y: "warning", N: "running", R: "running", W: "waiting",
  T: "ready", r: "ready", G: "warning", S: "skipped", D: "done",
};

/** The kinds of a bar as [kind, length] without equal neighbours. */
export function runs(letters) {
  const found = [];
  for (const letter of letters) {
    const kind = LETTERS[letter] ?? "ready";
    const last = found[found.length - 1];
    if (last && last[0] === kind) last[1] += 1;
    else found.push([kind, 1]);
  }
  return found;
}
