/** Numbers and times for people. Times are Unix seconds and are shown in the reader's time zone. */

const clockForm = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const secondForm = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const dayForm = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
});
const longForm = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const numberForm = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** A number with at most one digit behind the point. */
export const number = (value) => numberForm.format(value);

/** `1 task`, `2 tasks`. */
export const count = (n, thing) => `${numberForm.format(n)} ${thing}${n === 1 ? "" : "s"}`;

/** A time span: `45 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`. */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) {
    const rest = whole % 60;
    return minutes < 10 && rest ? `${minutes} min ${rest} s` : `${minutes} min`;
  }
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A moment: the clock of today, else with the day. */
export function moment(unix) {
  if (!unix) return "";
  const when = new Date(unix * 1000);
  const today = new Date();
  return when.toDateString() === today.toDateString()
    ? clockForm.format(when) : dayForm.format(when);
}

/** The clock with seconds. */
export const clock = (unix) => (unix ? secondForm.format(new Date(unix * 1000)) : "");

/** A moment with everything, for titles. */
export const longMoment = (unix) => (unix ? longForm.format(new Date(unix * 1000)) : "");

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A size: `1.5 GiB`. */
export function bytes(size) {
  let value = Math.max(0, size), unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A rate of KiB/s. */
export const rate = (kib) => `${bytes(kib * 1024)}/s`;

/** Now, by the clock of the server: that of the reader may be wrong. */
let offset = 0;
export const now = () => Date.now() / 1000 + offset;
export function setClock(unix) {
  offset = unix - Date.now() / 1000;
}
