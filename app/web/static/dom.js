/** Building elements without HTML strings, so that no text from outside can become markup. */

import { ICONS } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null));
  return node;
}

/** An HTML element; attributes `onclick` and the like take functions, children are elements or text. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, in the same way. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** One of the line drawings of icons.js. */
export function icon(name) {
  const paths = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "fs-icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, paths);
}

/** A button with an icon, a visible text, or both; `keys` is added to the tooltip. */
export function button({ label, press, icon: name, text = false, keys = "", className = "" }) {
  const hint = keys ? `${label} (${keys})` : label;
  const content = [name ? icon(name) : null, text ? element("span", { class: "fs-text" }, label) : null];
  const attributes = { type: "button", class: `fs-button ${className}`, title: hint, "aria-label": label };
  return element("button", { ...attributes, onclick: press }, content);
}

/**
 * A row of choices of which one holds, moved through with the arrow keys.
 *
 * choices: [{value, label, icon?, text?, keys?}]. The element returned has `choose(value)`, which is silent.
 */
export function choice(label, choices, value, changed) {
  const buttons = choices.map((entry) => button({ ...entry, press: () => pick(entry.value) }));
  buttons.forEach((node) => node.setAttribute("role", "radio"));
  const group = element("div", { class: "fs-group", role: "radiogroup", "aria-label": label }, buttons);
  group.choose = (chosen) =>
    buttons.forEach((node, index) => {
      const holds = choices[index].value === chosen;
      node.setAttribute("aria-checked", String(holds));
      node.tabIndex = holds ? 0 : -1;
    });
  const pick = (chosen) => {
    group.choose(chosen);
    changed(chosen);
  };
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    buttons[next].focus();
    pick(choices[next].value);
  });
  group.choose(value);
  return group;
}

/** The bar of controls over the top or bottom of a view. */
export const bar = (edge, ...children) => element("div", { class: `fs-over fs-over-${edge}` }, children);

/** Controls that stay together. */
export const cluster = (...children) => element("div", { class: "fs-side" }, children);

/** The button that saves what `component.picture()` shows, under its option `name`. */
export function pictureButton(component) {
  const press = async () => save(await component.picture(), `${component.options.name}.png`);
  return button({ label: "Save a picture", icon: "picture", press });
}

/** Offer a blob as a download. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Let the person choose a file; resolves to nothing when they do not. */
export function chooseFile(accept) {
  return new Promise((resolve) => {
    const input = element("input", { type: "file", accept });
    input.addEventListener("change", () => resolve(input.files[0]));
    input.addEventListener("cancel", () => resolve(undefined));
    input.click();
  });
}

/** Whether keys typed now belong to a text field. */
export function isTyping(event) {
  return event.target instanceof Element && event.target.matches("input, textarea, select, [contenteditable]");
}
