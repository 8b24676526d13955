/**
 * What every component is: an element it fills, options, events, and an orderly end.
 *
 * Events reach functions given to `on`, and bubble through the page as `fs:<name>` with the payload as `detail`.
 */

import { element as make } from "./dom.js";

const NOTICE_MILLISECONDS = 6000;

export class Component {
  /** Take over `element`; `defaults` tells every option there is. */
  constructor(element, options, defaults, className) {
    this.element = element;
    this.options = { ...defaults, ...options };
    this.listeners = new Map();
    this.ending = new AbortController();
    this.endings = [];
    this.className = className;
    this.notices = make("div", { class: "fs-notices", role: "status", "aria-live": "polite" });
    element.classList.add("fs-component", className);
    element.replaceChildren();
  }

  /** Aborted when the component ends: for listeners and requests. */
  get signal() {
    return this.ending.signal;
  }

  /** Call `listener(payload)` at every `event`; returns a function that stops it. */
  on(event, listener) {
    const all = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, all.add(listener));
    return () => all.delete(listener);
  }

  emit(event, payload = null) {
    this.listeners.get(event)?.forEach((listener) => listener(payload));
    this.element.dispatchEvent(new CustomEvent(`fs:${event}`, { detail: payload, bubbles: true }));
  }

  /** Change the options named, and only those. */
  update(options) {
    Object.assign(this.options, options);
    this.changed(options);
  }

  /** For subclasses: some options have new values. */
  changed() {}

  /** Show a sentence for a while; errors are events as well. */
  notify(message, isError = false) {
    const note = make("div", { class: isError ? "fs-note fs-error" : "fs-note" }, message);
    this.notices.replaceChildren(note);
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => note.remove(), NOTICE_MILLISECONDS);
    this.emit(isError ? "error" : "notice", { message });
  }

  /** What is seen until there is something to see; `this.empty` is hidden and shown by the component. */
  placeholder(title, sentence) {
    this.empty = make("div", { class: "fs-empty" }, make("p", {}, make("strong", {}, title), sentence));
    return this.empty;
  }

  fail(message) {
    this.notify(message, true);
  }

  /** Run an asynchronous action; what goes wrong is shown, and an end by `destroy` is no error. */
  async attempt(action) {
    try {
      return await action();
    } catch (error) {
      if (!this.signal.aborted && error.name !== "AbortError") this.fail(error.message);
      return undefined;
    }
  }

  /** Stop listening, free what was taken, empty the element. */
  destroy() {
    this.ending.abort();
    clearTimeout(this.noticeTimer);
    this.endings.splice(0).forEach((end) => end());
    this.listeners.clear();
    this.element.replaceChildren();
    this.element.classList.remove("fs-component", this.className);
  }
}
