// Elements without markup: whatever comes from files or models becomes text.

/** Returns the element of an id. */
export const $ = (id) => document.getElementById(id);

/** Returns a new element. Properties that begin with "on" are listeners, others attributes; null leaves one out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Fills a select with [value, text] pairs and keeps what was chosen, where that is still there. */
export function fill(select, options) {
  const chosen = select.value;
  select.replaceChildren(...options.map(([value, text]) => el("option", { value }, text)));
  if (options.some(([value]) => String(value) === chosen)) select.value = chosen;
}

/** Returns a bar of a share of 0 to 1. It is drawn, not said: the number stands beside it. */
export function bar(share) {
  const fillPart = el("span");
  fillPart.style.setProperty("inline-size", `${Math.max(0, Math.min(1, share)) * 100}%`);
  return el("span", { class: "bar", "aria-hidden": "true" }, fillPart);
}

/** Returns a function that waits until it was not called for so many milliseconds. */
export function debounced(milliseconds, action) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}
