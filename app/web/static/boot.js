/**
 * Mounts a component into every element that asks for one:
 * `<div data-component="world_view" data-options='{"actions": false}'></div>`.
 *
 * Elements that are added later are found too, those removed are ended, and a new `data-options` updates the options in
 * it that changed. The handle is `element.component`; `fs:ready` fires on the element.
 */

const KINDS = new Set(["plan_painter", "world_view", "field_view", "mesh_view", "cameras_view", "curve"]);

const told = new WeakMap(); // element -> the options last seen

const optionsOf = (element) => JSON.parse(element.dataset.options || "{}");

/** The options that are not as they were: the others keep what the person made of them. */
function changedOptions(element) {
  const [before, now] = [told.get(element) ?? {}, optionsOf(element)];
  told.set(element, now);
  const differs = ([key, value]) => JSON.stringify(value) !== JSON.stringify(before[key]);
  return Object.fromEntries(Object.entries(now).filter(differs));
}

async function begin(element) {
  const kind = element.dataset.component;
  if (element.component || element.dataset.mounting || !KINDS.has(kind)) return;
  element.dataset.mounting = "yes";
  const { mount } = await import(`./${kind}.js`);
  delete element.dataset.mounting;
  if (!element.isConnected) return;
  element.component = mount(element, changedOptions(element));
  element.dispatchEvent(new CustomEvent("fs:ready", { bubbles: true }));
}

function end(element) {
  element.component?.destroy();
  delete element.component;
}

/** Elements at and below a node that ask for a component. */
function within(node) {
  if (!(node instanceof Element)) return [];
  const below = [...node.querySelectorAll("[data-component]")];
  return node.matches("[data-component]") ? [node, ...below] : below;
}

function follow(changes) {
  for (const { type, target, addedNodes, removedNodes } of changes) {
    if (type === "attributes") target.component?.update(changedOptions(target));
    removedNodes.forEach((node) => within(node).forEach((element) => element.isConnected || end(element)));
    addedNodes.forEach((node) => within(node).forEach(begin));
  }
}

within(document.documentElement).forEach(begin);
const wanted = { childList: true, subtree: true, attributes: true, attributeFilter: ["data-options"] };
new MutationObserver(follow).observe(document.documentElement, wanted);
