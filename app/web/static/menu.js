/** A small menu at a place of a view; keys move through it, Escape and a click elsewhere close it. */

import { button, element } from "./dom.js";

const MARGIN = 10;

export class Menu {
  /** closed() is called with every close, to bring the focus back. */
  constructor(host, closed) {
    this.host = host;
    this.closed = closed;
    this.voice = element("div", { class: "fs-quietly", "aria-live": "polite" });
    host.append(this.voice);
  }

  /** Tell people who cannot see the view what happened. */
  say(sentence) {
    this.voice.textContent = sentence;
  }

  /** Open at (x, y) in [-1, 1]; entries as `button` takes them; `dismissed` is called when none was chosen. */
  open(title, entries, x, y, dismissed) {
    this.close();
    this.dismissed = dismissed;
    const nodes = entries.map((entry) => button({ text: true, ...entry, press: () => this.#choose(entry) }));
    nodes.forEach((node) => {
      node.setAttribute("role", "menuitem");
      node.classList.add("fs-keeps-text");
    });
    const heading = element("div", { class: "fs-menu-title" }, title);
    this.node = element("div", { class: "fs-menu", role: "menu", "aria-label": title }, heading, nodes);
    this.node.addEventListener("keydown", (event) => this.#key(event, nodes));
    this.host.append(this.node);
    this.#place(x, y);
    nodes[0].focus({ preventScroll: true });
    this.ending = new AbortController();
    const outside = (event) => this.node.contains(event.target) || this.dismiss();
    document.addEventListener("pointerdown", outside, { signal: this.ending.signal, capture: true });
  }

  #place(x, y) {
    const [width, height] = [this.host.clientWidth, this.host.clientHeight];
    const within = (value, size, room) => Math.max(MARGIN, Math.min(value, room - size - MARGIN));
    this.node.style.left = `${within(((x + 1) / 2) * width + MARGIN, this.node.offsetWidth, width)}px`;
    this.node.style.top = `${within(((1 - y) / 2) * height + MARGIN, this.node.offsetHeight, height)}px`;
  }

  #choose(entry) {
    this.close();
    entry.press();
    this.closed();
  }

  dismiss() {
    this.close();
    this.closed();
    this.dismissed?.();
  }

  close() {
    this.ending?.abort();
    this.node?.remove();
    this.node = null;
  }

  #key(event, nodes) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") this.dismiss();
    else if (step) nodes[(nodes.indexOf(document.activeElement) + step + nodes.length) % nodes.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
