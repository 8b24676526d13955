/** The markup of a page as its script sees it: parts by name, forms as values, messages. */

import { element } from "../dom.js";

const TOAST_MILLISECONDS = 7000;

/** Elements with `data-part` below `root`, by that name in camel case. */
export function partsOf(root) {
  const found = {};
  for (const node of root.querySelectorAll("[data-part]"))
    found[node.dataset.part.replace(/-(\w)/g, (_, letter) => letter.toUpperCase())] = node;
  return found;
}

/** Mount a component; its handle is `node.component`, as with those that boot.js mounts. */
export function place(node, mount, options) {
  node.component = mount(node, options);
  return node.component;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** Of some nodes, show this one only (null: none). */
export function showOnly(nodes, chosen) {
  for (const node of nodes) show(node, node === chosen);
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** What a form says: text by name, numbers for number and range inputs, null where nothing is typed. */
export function valuesOf(form) {
  const values = {};
  for (const control of form.elements) {
    if (!control.name || (control.type === "radio" && !control.checked)) continue;
    values[control.name] = valueOf(control);
  }
  return values;
}

function valueOf(control) {
  if (control.type === "checkbox") return control.checked;
  if (control.value === "") return null;
  return control.type === "number" || control.type === "range" ? Number(control.value) : control.value;
}

/** Whether everything typed is within its limits; the browser points at what is not. */
export const isValid = (form) => {
  for (const control of form.elements)
    if (control.willValidate && !control.checkValidity()) control.closest("details")?.setAttribute("open", "");
  return form.reportValidity();
};

/** Set controls of a form from values, as far as they have a place there. */
export function fillForm(form, values) {
  for (const [name, value] of Object.entries(values)) {
    const control = form.elements[name];
    if (!control || value == null) continue;
    if (control.type === "checkbox") control.checked = Boolean(value);
    else if (!(control instanceof RadioNodeList) || [...control].some((radio) => radio.value === String(value)))
      control.value = String(value);
  }
}

/** On narrow screens, bring what just began into sight; wide ones show it already. */
export function reveal(node) {
  if (matchMedia("(max-width: 900px)").matches) node.scrollIntoView({ block: "start", behavior: "smooth" });
}

/** A sentence at the edge of the page for a while. */
export function toast(message, isError = false) {
  const shelf = document.querySelector("[data-part=toasts]");
  const note = element("div", { class: isError ? "fs-note fs-error" : "fs-note" }, message);
  shelf.replaceChildren(note);
  setTimeout(() => note.remove(), TOAST_MILLISECONDS);
}

/** Run an action of a button: it is off meanwhile, and what goes wrong is told. */
export async function attempt(button, action) {
  if (button) button.disabled = true;
  try {
    return await action();
  } catch (error) {
    toast(error.message, true);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

/** Draw figures as [value, words] pairs. */
export function numbers(node, pairs) {
  const shown = pairs.filter(([value]) => value !== "" && value != null);
  show(node, shown.length > 0);
  node.replaceChildren(
    ...shown.map(([value, words]) => element("div", {}, element("strong", {}, String(value)), element("span", {}, words))),
  );
}
