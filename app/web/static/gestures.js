/**
 * Mouse, touch, wheel and keys over a surface, told as what the person means.
 *
 * handlers (all optional): turn(dx, dy) and pan(dx, dy) in shares of the surface's height, zoom(factor, x, y),
 * tap(x, y), hover(x, y) or hover(null), begin(), end(), home(), key(event) -> true when it was used. x and y are
 * in [-1, 1] with y up. The wheel zooms once the surface has the focus, so that it never traps a page that scrolls by.
 */

import { isTyping } from "./dom.js";

const TAP_PIXELS = 6;
const KEY_TURN = 0.04;
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Listen until `signal` is aborted. */
export function gestures(surface, handlers, signal) {
  const fingers = new Fingers(surface, handlers);
  const listen = (name, handler, more = {}) => surface.addEventListener(name, handler, { signal, ...more });
  listen("pointerdown", (event) => fingers.down(event));
  listen("pointermove", (event) => fingers.move(event));
  for (const name of ["pointerup", "pointercancel"]) listen(name, (event) => fingers.up(event));
  listen("pointerleave", () => handlers.hover?.(null));
  listen("contextmenu", (event) => event.preventDefault());
  listen("wheel", (event) => wheel(event, surface, handlers), { passive: false });
  listen("keydown", (event) => key(event, handlers));
  listen("dblclick", () => handlers.home?.());
}

/** A place of the surface in [-1, 1], y up. */
export function placeOf(surface, event) {
  const box = surface.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2];
}

function wheel(event, surface, handlers) {
  if (!event.ctrlKey && document.activeElement !== surface) return;
  event.preventDefault();
  const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
  handlers.zoom?.(Math.exp(Math.max(-200, Math.min(200, pixels)) * 0.0016), ...placeOf(surface, event));
}

function key(event, handlers) {
  if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (handlers.key?.(event) || moved(event, handlers)) event.preventDefault();
}

function moved(event, handlers) {
  const arrow = ARROWS[event.key];
  if (arrow) {
    const act = event.shiftKey ? handlers.pan : handlers.turn;
    act?.(arrow[0] * KEY_TURN, arrow[1] * KEY_TURN);
  } else if (event.key === "+" || event.key === "=") handlers.zoom?.(0.88, 0, 0);
  else if (event.key === "-") handlers.zoom?.(1 / 0.88, 0, 0);
  else if (event.key === "0" || event.key === "Home") handlers.home?.();
  else return false;
  return true;
}

/** The pointers that are down: one turns, one with Shift or another button pans, two pinch and pan. */
class Fingers {
  constructor(surface, handlers) {
    this.surface = surface;
    this.handlers = handlers;
    this.at = new Map();
  }

  down(event) {
    this.surface.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    this.at.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.at.size === 1) {
      this.start = [event.clientX, event.clientY];
      this.isTap = event.button === 0;
      this.pans = event.button !== 0 || event.shiftKey;
      this.handlers.begin?.();
    } else this.isTap = false;
  }

  move(event) {
    const before = this.at.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") this.handlers.hover?.(...placeOf(this.surface, event));
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.isTap && Math.hypot(now[0] - this.start[0], now[1] - this.start[1]) < TAP_PIXELS) return;
    this.isTap = false;
    if (this.at.size === 1) this.#drag(before, now);
    else this.#pinch(event.pointerId, before, now);
    this.at.set(event.pointerId, now);
  }

  up(event) {
    if (!this.at.delete(event.pointerId) || this.at.size) return;
    if (this.isTap && event.type === "pointerup") this.handlers.tap?.(...placeOf(this.surface, event));
    this.handlers.end?.();
  }

  #drag(before, now) {
    const height = this.surface.clientHeight || 1;
    const act = this.pans ? this.handlers.pan : this.handlers.turn;
    act?.((now[0] - before[0]) / height, (now[1] - before[1]) / height);
  }

  #pinch(pointer, before, now) {
    const other = [...this.at].find(([id]) => id !== pointer)[1];
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    const height = this.surface.clientHeight || 1;
    const middle = { clientX: (now[0] + other[0]) / 2, clientY: (now[1] + other[1]) / 2 };
    this.handlers.zoom?.(apart(before) / apart(now), ...placeOf(this.surface, middle));
    this.handlers.pan?.((now[0] - before[0]) / 2 / height, (now[1] - before[1]) / 2 / height);
  }
}
