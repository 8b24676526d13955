/**
 * Mouse, touch and wheel over the sheet: one finger paints, two zoom and shift; Space, the middle or the right button
 * shifts too. A second finger takes back what the first began to paint.
 */

export class PlanPointer {
  /** painter: beginStroke(pixel), moveStroke(pixel, isStraight), endStroke, cancelStroke, pointAt(pixel or null). */
  constructor(canvas, view, painter, signal) {
    Object.assign(this, { canvas, view, painter });
    this.at = new Map();
    const listen = (name, handler, more) => canvas.addEventListener(name, handler.bind(this), { signal, ...more });
    listen("pointerdown", this.down);
    listen("pointermove", this.move);
    listen("pointerup", this.up);
    listen("pointercancel", this.up);
    listen("pointerleave", () => painter.pointAt(null));
    listen("contextmenu", (event) => event.preventDefault());
    listen("wheel", this.wheel, { passive: false });
    listen("keydown", (event) => event.key === " " && (this.isSpace = true));
    listen("keyup", (event) => event.key === " " && (this.isSpace = false));
    listen("blur", () => (this.isSpace = false));
  }

  down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.at.set(event.pointerId, [event.clientX, event.clientY]);
    this.shifts = event.button !== 0 || this.isSpace || this.at.size > 1;
    if (this.at.size > 1) this.painter.cancelStroke();
    else if (!this.shifts) this.painter.beginStroke(this.view.pixelAt(event));
  }

  move(event) {
    const before = this.at.get(event.pointerId);
    if (event.pointerType !== "touch") this.painter.pointAt(this.view.pixelAt(event));
    if (!before) return;
    const now = [event.clientX, event.clientY];
    this.at.set(event.pointerId, now);
    if (this.at.size > 1) this.#pinch(event.pointerId, before, now);
    else if (this.shifts) this.view.panBy(now[0] - before[0], now[1] - before[1]);
    else this.painter.moveStroke(this.view.pixelAt(event), event.shiftKey);
  }

  up(event) {
    if (!this.at.delete(event.pointerId) || this.at.size) return;
    if (event.type === "pointercancel") this.painter.cancelStroke();
    else if (!this.shifts) this.painter.endStroke();
  }

  wheel(event) {
    if (!event.ctrlKey && document.activeElement !== this.canvas) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    const factor = Math.exp(-Math.max(-200, Math.min(200, pixels)) * 0.0018);
    this.view.zoomBy(factor, event.clientX - box.left, event.clientY - box.top);
  }

  #pinch(pointer, before, now) {
    const other = [...this.at].find(([id]) => id !== pointer)[1];
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    const box = this.canvas.getBoundingClientRect();
    this.view.zoomBy(apart(now) / apart(before), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    this.view.panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }
}
