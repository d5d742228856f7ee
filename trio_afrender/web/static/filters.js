/** Filters of a list: in the address, so that a link has them, and kept for the next visit. */

const KEY = "trio_afrender.filters";

/** Read the filters of a view: those of the address, else those of the last visit. */
export function readFilters(page, view, names) {
  const query = new URLSearchParams(location.search);
  const found = {};
  const given = names.some((name) => query.has(name));
  const kept = given ? {} : load(view);
  for (const name of names) found[name] = query.get(name) ?? String(kept[name] ?? "");
  if (!given && names.some((name) => found[name])) page.setQuery(found);
  return found;
}

/** Keep changed filters. */
export function keepFilters(page, view, filters) {
  page.setQuery(filters);
  try {
    localStorage.setItem(`${KEY} ${view}`, JSON.stringify(filters));
  } catch {
    // Without storage the address alone has them.
  }
}

function load(view) {
  try {
    const found = JSON.parse(localStorage.getItem(`${KEY} ${view}`) ?? "{}");
    return typeof found === "object" && found !== null ? found : {};
  } catch {
    return {};
  }
}

/** `key:down` of an order, and back. */
export const writeOrder = (order, usual) =>
  (order.key === usual.key && order.down === usual.down ? "" : `${order.key}${order.down ? ":down" : ""}`);
export function readOrder(text, usual, keys) {
  const [key, down] = String(text || "").split(":");
  return keys.includes(key) ? { key, down: down === "down" } : usual;
}
