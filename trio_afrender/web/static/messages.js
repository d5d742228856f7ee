/** Short messages at the edge of the page. They stay until they are closed, or for a while. */

import { button, el, icon, outside } from "./dom.js";

const STAY = 12_000;
const MOST = 4;

/** Show a message; with `action` {text, run} a button. Errors stay until they are closed. */
export function tell(text, { kind = "done", action = null } = {}) {
  const box = document.getElementById("toasts");
  const made = el("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status" },
    el("p", null, outside(text, 300)));
  const close = () => {
    clearTimeout(timer);
    made.remove();
  };
  if (action) {
    made.append(button(action.text, () => {
      close();
      action.run();
    }, { class: "act" }));
  }
  made.append(el("button", { type: "button", class: "plain", "aria-label": "Close the message", on: { click: close } }, icon("close")));
  box.append(made);
  while (box.childElementCount > MOST) box.firstElementChild.remove();
  let timer = kind === "error" ? 0 : setTimeout(close, STAY);
  // Who reads it or goes to its button gets the time for it.
  for (const event of ["pointerenter", "focusin"]) made.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["pointerleave", "focusout"]) {
    made.addEventListener(event, () => {
      if (kind !== "error") {
        clearTimeout(timer);
        timer = setTimeout(close, STAY);
      }
    });
  }
  return close;
}
