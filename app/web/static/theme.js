/** The tokens of theme.css for code that draws: colours as numbers, and word of every change of theme. */

import { element } from "./dom.js";

/** sRGB in [0, 1] of a colour token such as "--fs-sky", as it holds at `node`. */
export function colour(node, token) {
  const probe = element("i", { hidden: true });
  probe.style.color = `var(${token})`;
  node.append(probe);
  const parts = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [0, 0, 0];
  probe.remove();
  return parts.slice(0, 3).map((part) => Number(part) / 255);
}

/** Call `changed` whenever the theme may have become another; returns a function that stops it. */
export function watchTheme(changed) {
  const observer = new MutationObserver(changed);
  const filter = { attributes: true, attributeFilter: ["class", "data-theme"] };
  for (const node of [document.documentElement, document.body]) observer.observe(node, filter);
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    system.removeEventListener("change", changed);
  };
}

/** Whether people asked for less movement. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
