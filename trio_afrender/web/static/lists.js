/** What the lists of jobs and of renders share: the choice of a state, the bar of a selection. */

import { button, el, setText } from "./dom.js";
import { count } from "./format.js";

/** Buttons of which one is pressed. `names`: key -> text; `choose(key)` is called by a click. */
export function makeChoice(label, names, choose) {
  const element = el("div", { class: "choice", role: "group", "aria-label": label }, Object.entries(names).map(([key, text]) =>
    el("button", { type: "button", data: { key }, on: { click: () => choose(key) } }, text, el("span", { class: "n" }))));
  return {
    element,
    /** Press the one with a key; `countOf(key)` stands behind the text of each but "". */
    show(chosen, countOf) {
      for (const each of element.children) {
        const { key } = each.dataset;
        each.setAttribute("aria-pressed", String(key === chosen));
        setText(each.querySelector(".n"), key ? String(countOf(key)) : "");
      }
    },
  };
}

/** The bar with what can be done with selected rows; `tools` is its toolbar. */
export function makeSelection(noun, tools, clear) {
  const text = el("strong", { class: "n" });
  const element = el("div", { class: "selection", hidden: true }, text, tools,
    button("Clear the selection", clear, { class: "plain" }));
  return {
    element,
    show(selected) {
      element.hidden = selected.size === 0;
      setText(text, `${count(selected.size, noun)} selected`);
    },
  };
}
