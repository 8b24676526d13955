/** Draws a plan: sheet, metre grid with numbers, blocks, and what the tool would do. Zoom and shift live here. */

import { corner } from "./cells.js";
import { colour } from "./theme.js";

const MARGIN = 34; // pixels round the sheet for the numbers
const LARGEST_ZOOM = 64;
const STEPS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200];
const NAMES = ["sunken", "paper", "paper-line", "soft", "accent", "line", "good"];

const css = (rgb, alpha = 1) => `rgb(${rgb.map((value) => Math.round(value * 255)).join(" ")} / ${alpha})`;

export class PlanCanvas {
  /** painter: document, metresPerPixel, origin, palette, blocks, options.frame. */
  constructor(canvas, painter) {
    this.canvas = canvas;
    this.painter = painter;
    this.drawing = canvas.getContext("2d");
    this.sheet = document.createElement("canvas");
    this.zoom = 0;
    this.readTheme();
  }

  readTheme() {
    this.colours = Object.fromEntries(NAMES.map((name) => [name, colour(this.painter.element, `--fs-${name}`)]));
    this.table = new Uint32Array(256).fill(0xff000000);
    for (const { index, rgb } of this.painter.options.palette) this.table[index] = this.#packed(rgb);
    this.table[0] = this.#packed(this.colours.paper.map((value) => Math.round(value * 255)));
    if (this.painter.document) this.refresh();
  }

  #packed([r, g, b]) {
    return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
  }

  /** The plan has other pixels. */
  refresh() {
    const { width, height, indices } = this.painter.document;
    if (this.sheet.width !== width || this.sheet.height !== height) Object.assign(this.sheet, { width, height });
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let index = 0; index < indices.length; index++) pixels[index] = this.table[indices[index]];
    this.sheet.getContext("2d").putImageData(image, 0, 0);
    this.invalidate();
  }

  /** The whole sheet in view. */
  fit() {
    const { width, height } = this.painter.document;
    const [roomX, roomY] = [this.canvas.clientWidth - 2 * MARGIN, this.canvas.clientHeight - 2 * MARGIN];
    this.zoom = Math.min(LARGEST_ZOOM, Math.max(0.05, Math.min(roomX / width, roomY / height)));
    this.left = (this.canvas.clientWidth - width * this.zoom) / 2;
    this.top = (this.canvas.clientHeight - height * this.zoom) / 2;
    this.fitted = true;
    this.invalidate();
  }

  /** Zoom about a place of the canvas, its middle when none is given. */
  zoomBy(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(0.05, this.zoom * factor));
    this.left = x - ((x - this.left) * zoom) / this.zoom;
    this.top = y - ((y - this.top) * zoom) / this.zoom;
    this.zoom = zoom;
    this.fitted = false;
    this.invalidate();
  }

  panBy(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.fitted = false;
    this.invalidate();
  }

  /** Pixel of the plan under a pointer; may lie outside. */
  pixelAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return [Math.floor((x - this.left) / this.zoom), Math.floor((y - this.top) / this.zoom)];
  }

  invalidate() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    const { canvas, drawing } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) {
      Object.assign(canvas, { width, height });
      if (!this.zoom || this.fitted) this.fit();
    }
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawing.fillStyle = css(this.colours.sunken);
    drawing.fillRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    this.#drawSheet();
    this.#drawGrid();
    this.painter.blocks.forEach((block) => this.#drawBlock(block));
    this.#drawPointer();
  }

  #drawSheet() {
    const { drawing, zoom, left, top } = this;
    const { width, height } = this.painter.document;
    drawing.fillStyle = "rgb(0 0 0 / 7%)";
    for (const edge of [4, 2]) {
      drawing.fillRect(left - edge, top - edge + 2, width * zoom + 2 * edge, height * zoom + 2 * edge);
    }
    drawing.imageSmoothingEnabled = zoom < 1;
    drawing.drawImage(this.sheet, left, top, width * zoom, height * zoom);
  }

  #drawGrid() {
    const metre = this.zoom / this.painter.metresPerPixel;
    if (this.zoom >= 12) this.#rules(this.painter.metresPerPixel, 0.07);
    this.#rules(STEPS.find((metres) => metres * metre >= 15) ?? STEPS.at(-1), 0.17);
    this.#numbers(STEPS.find((metres) => metres * metre >= 34 && metres >= 1) ?? STEPS.at(-1));
  }

  /** Multiples of `step` metres along an axis of the sheet: [[metres, pixel of the canvas], …]. */
  #ticks(step, axis) {
    const { painter, zoom } = this;
    const start = painter.origin[axis];
    const end = start + [painter.document.width, painter.document.height][axis] * painter.metresPerPixel;
    const first = Math.ceil(start / step - 1e-6);
    const count = Math.max(0, Math.floor(end / step + 1e-6) - first + 1);
    const edge = axis ? this.top : this.left;
    return Array.from({ length: count }, (_, n) => {
      const metres = (first + n) * step;
      return [metres, edge + ((metres - start) * zoom) / painter.metresPerPixel];
    });
  }

  /** Lines `step` metres apart over the sheet. */
  #rules(step, alpha) {
    const { drawing, left, top, zoom } = this;
    const { width, height } = this.painter.document;
    drawing.strokeStyle = css(this.colours["paper-line"], alpha);
    drawing.lineWidth = 1;
    drawing.beginPath();
    for (const [, x] of this.#ticks(step, 0)) {
      drawing.moveTo(Math.round(x) + 0.5, top);
      drawing.lineTo(Math.round(x) + 0.5, top + height * zoom);
    }
    for (const [, y] of this.#ticks(step, 1)) {
      drawing.moveTo(left, Math.round(y) + 0.5);
      drawing.lineTo(left + width * zoom, Math.round(y) + 0.5);
    }
    drawing.stroke();
  }

  /** Metres above and beside the sheet; they stay in sight when it is larger than the canvas. */
  #numbers(step) {
    const { drawing, left, top } = this;
    const [above, beside] = [Math.max(14, top - 5), Math.max(24, left - 7)];
    drawing.font = "11px system-ui, sans-serif";
    drawing.fillStyle = css(this.colours.soft);
    Object.assign(drawing, { textAlign: "center", textBaseline: "bottom" });
    this.#ticks(step, 0).forEach(([metres, x], number) => drawing.fillText(number ? metres : `${metres} m`, x, above));
    Object.assign(drawing, { textAlign: "right", textBaseline: "middle" });
    for (const [metres, y] of this.#ticks(step, 1)) drawing.fillText(metres, beside, y);
  }

  #drawBlock({ i, k, state }) {
    const { drawing, painter } = this;
    const { frame } = painter.options;
    const [x, z] = corner(frame, i, k);
    const toPixels = this.zoom / painter.metresPerPixel;
    const side = frame.stride * toPixels;
    const at = [this.left + (x - painter.origin[0]) * toPixels + 2, this.top + (z - painter.origin[1]) * toPixels + 2];
    const tone = { done: "good", busy: "accent", planned: "soft" }[state] ?? "soft";
    drawing.beginPath();
    drawing.roundRect(...at, side - 4, side - 4, 6);
    drawing.fillStyle = css(this.colours[tone], state === "busy" ? 0.22 : 0.06);
    drawing.fill();
    drawing.setLineDash(state === "planned" ? [5, 4] : []);
    drawing.strokeStyle = css(this.colours[tone], 0.85);
    drawing.lineWidth = 1.5;
    drawing.stroke();
    drawing.setLineDash([]);
  }

  /** The brush under the pointer, or the measures of a shape that is being drawn. */
  #drawPointer() {
    const { pointer, span } = this;
    if (span) this.#outline(span[0], span[1], true);
    else if (pointer) {
      const low = Math.floor((this.painter.brushSize - 1) / 2);
      const from = pointer.map((value) => value - low);
      this.#outline(from, from.map((value) => value + this.painter.brushSize - 1), false);
    }
  }

  #outline(from, to, isMeasured) {
    const { drawing, zoom, left, top, painter } = this;
    const low = from.map((value, axis) => Math.min(value, to[axis]));
    const size = from.map((value, axis) => Math.abs(value - to[axis]) + 1);
    const box = [left + low[0] * zoom, top + low[1] * zoom, size[0] * zoom, size[1] * zoom];
    for (const [ink, width] of [["rgb(255 255 255 / 90%)", 3.5], [css(this.colours["paper-line"], 0.9), 1.5]]) {
      Object.assign(drawing, { strokeStyle: ink, lineWidth: width });
      drawing.strokeRect(...box);
    }
    if (!isMeasured) return;
    const label = size.map((pixels) => (pixels * painter.metresPerPixel).toFixed(1)).join(" × ") + " m";
    this.#label(label, box[0] + box[2] / 2, box[1] + box[3] + 16);
  }

  #label(text, x, y) {
    const { drawing } = this;
    drawing.font = "600 12px system-ui, sans-serif";
    const width = drawing.measureText(text).width + 16;
    drawing.fillStyle = "rgb(20 24 34 / 88%)";
    drawing.beginPath();
    drawing.roundRect(x - width / 2, y - 11, width, 22, 11);
    drawing.fill();
    drawing.fillStyle = "#fff";
    Object.assign(drawing, { textAlign: "center", textBaseline: "middle" });
    drawing.fillText(text, x, y);
  }
}
