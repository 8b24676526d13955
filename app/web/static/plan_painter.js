/**
 * A floor plan to paint on: classes from a legend, a metre grid, and files that the command line reads.
 *
 * mount(element, options) -> PlanPainter
 *   options: palette [{index, name, rgb [r, g, b]}] (index 0 is empty ground); legend [class names] to offer; width and
 *     height in metres; metresPerPixel; origin [x, z]; frame {size, stride} of blocks; indices (base64 of uint8 rows);
 *     selected (class name); name (of saved files); world (of saved layouts); blocks [{i, k, state}].
 *   methods: value() -> {width, height, metresPerPixel, origin, indices}, base64() -> string, toPng() -> Promise<Blob>,
 *     toLayout() -> object, open(File, Blob or address) -> Promise, set({width, height, indices, metresPerPixel?,
 *     origin?}), clear(), undo(), redo(), resize(metres, metres), setBlocks([{i, k, state: "done"|"busy"|"planned"}]),
 *     and on, update, destroy of every component.
 *   events: change {painted, pixels [w, h], metres [w, h]}, notice {message}, error {message}
 */

import { Component } from "./component.js";
import { button, choice, chooseFile, element, isTyping, save, cluster } from "./dom.js";
import { Menu } from "./menu.js";
import { PlanCanvas } from "./plan_canvas.js";
import { LARGEST_SIDE, PlanDocument } from "./plan_document.js";
import { drawLayout, layoutOf } from "./plan_layout.js";
import { PlanPointer } from "./plan_pointer.js";
import { decodePlan, encodePlan } from "./plan_png.js";
import { TOOLS } from "./plan_tools.js";
import { watchTheme } from "./theme.js";

const DEFAULTS = {
  palette: [],
  legend: null,
  width: 9.6,
  height: 7.2,
  metresPerPixel: 0.1,
  origin: [0, 0],
  frame: { size: 3.2, stride: 2.4 },
  indices: null,
  selected: null,
  name: "plan",
  world: "room",
  blocks: [],
};
const LARGEST_BRUSH = 20;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LABEL = "Floor plan. Arrow keys move the cursor, Enter paints, letters choose tools, numbers choose classes.";

export const mount = (target, options = {}) => new PlanPainter(target, options);

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

class PlanPainter extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-painter");
    const { palette, legend, selected } = this.options;
    const offered = legend ?? palette.slice(1).map((entry) => entry.name);
    this.offered = offered.map((name) => palette.find((entry) => entry.name === name)).filter(Boolean);
    this.tools = TOOLS.filter(({ needs = [] }) => needs.every((name) => offered.includes(name)));
    this.chosen = this.indexOf(selected) ?? this.offered[0]?.index ?? 0;
    this.tool = this.tools[0];
    this.size = 2;
    this.blocks = this.options.blocks;
    this.#startPlan();
    this.#build();
    this.#said();
  }

  #startPlan() {
    const { width, height, metresPerPixel, origin, indices } = this.options;
    const [columns, rows] = [width, height].map((metres) => Math.round(metres / metresPerPixel));
    const start = indices ? bytesOf(indices) : null;
    this.document = new PlanDocument(columns, rows, start?.length === columns * rows ? start : null);
    Object.assign(this, { metresPerPixel, origin });
  }

  #build() {
    this.canvas = element("canvas", { class: "fs-sheet", tabindex: "0", role: "application", "aria-label": LABEL });
    const empty = this.placeholder("An empty plan", "Drag to paint. The room tool draws a floor with walls.");
    const stage = element("div", { class: "fs-painter-stage" }, this.canvas, empty, this.notices);
    this.element.append(this.#toolbar(), this.#legend(), stage, this.#statusBar());
    this.menu = new Menu(this.element, () => this.canvas.focus());
    this.view = new PlanCanvas(this.canvas, this);
    this.view.refresh();
    new PlanPointer(this.canvas, this.view, this, this.signal);
    const observer = new ResizeObserver(() => this.view.invalidate());
    observer.observe(this.canvas);
    this.endings.push(() => observer.disconnect(), watchTheme(() => this.view.readTheme()));
    this.element.addEventListener("keydown", (event) => this.#key(event), { signal: this.signal });
    this.#listenForFiles();
  }

  #listenForFiles() {
    const { signal } = this;
    this.element.addEventListener("dragover", (event) => event.preventDefault(), { signal });
    const drop = (event) => {
      event.preventDefault();
      if (event.dataTransfer.files[0]) this.open(event.dataTransfer.files[0]);
    };
    this.element.addEventListener("drop", drop, { signal });
  }

  #toolbar() {
    this.toolChoice = choice("Tool", this.tools, this.tool.value, (value) => this.setTool(value));
    this.sizeText = element("output", {});
    const range = { type: "range", min: 1, max: LARGEST_BRUSH, "aria-label": "Width of the brush" };
    this.sizeInput = element("input", range);
    this.sizeInput.addEventListener("input", () => this.setSize(Number(this.sizeInput.value)));
    const quiet = (entry) => button({ className: "fs-quiet", ...entry });
    this.undoButton = quiet({ label: "Undo", icon: "undo", keys: "Ctrl+Z", press: () => this.undo() });
    this.redoButton = quiet({ label: "Redo", icon: "redo", keys: "Ctrl+Shift+Z", press: () => this.redo() });
    const wide = { className: "fs-quiet fs-wide" };
    const zoom = cluster(
      quiet({ ...wide, label: "Zoom out", icon: "minus", keys: "-", press: () => this.view.zoomBy(1 / 1.3) }),
      quiet({ ...wide, label: "Zoom in", icon: "plus", keys: "+", press: () => this.view.zoomBy(1.3) }),
      quiet({ label: "Show the whole plan", icon: "fit", keys: "0", press: () => this.view.fit() }),
    );
    const files = cluster(
      quiet({ label: "Open a plan", icon: "open", press: () => this.#choosePlan() }),
      quiet({ label: "Save the plan", icon: "save", press: (event) => this.#offerSaving(event) }),
      quiet({ label: "Clear the plan", icon: "clear", press: () => this.clear() }),
    );
    const brush = element("label", { class: "fs-brush" }, this.sizeInput, this.sizeText);
    const steps = cluster(this.undoButton, this.redoButton);
    return element("div", { class: "fs-painter-tools" }, this.toolChoice, brush, steps, zoom, files);
  }

  #legend() {
    const entries = this.offered.map(({ index, name, rgb }, number) => {
      const swatch = element("i", { class: "fs-swatch" });
      swatch.style.background = `rgb(${rgb.join(" ")})`;
      const key = number < 9 ? element("kbd", { "aria-hidden": "true" }, String(number + 1)) : null;
      const attributes = { type: "button", role: "radio", class: "fs-class", "data-index": index, "aria-label": name };
      const press = () => this.choose(index);
      return element("button", { ...attributes, onclick: press }, swatch, element("span", {}, name), key);
    });
    this.classButtons = entries;
    return element("div", { class: "fs-legend", role: "radiogroup", "aria-label": "Class to paint" }, entries);
  }

  #statusBar() {
    const metres = (label) => {
      const input = element("input", { type: "number", min: 1, max: 400, step: 0.1, "aria-label": label });
      const resize = () => this.resize(...[this.widthInput, this.heightInput].map((node) => Number(node.value)));
      input.addEventListener("change", resize);
      return input;
    };
    this.widthInput = metres("Width of the plan in metres");
    this.heightInput = metres("Depth of the plan in metres");
    this.where = element("span", { class: "fs-where" });
    const size = element("span", { class: "fs-sides" }, this.widthInput, " × ", this.heightInput, " m");
    return element("div", { class: "fs-status" }, size, this.where);
  }

  changed(options) {
    if (options.blocks) this.setBlocks(options.blocks);
    if (options.selected) this.choose(this.indexOf(options.selected));
    if (options.indices || options.width || options.height || options.metresPerPixel) {
      this.#startPlan();
      this.#shown();
    }
  }

  /** Index of a class by name. */
  indexOf(name) {
    return this.options.palette.find((entry) => entry.name === name)?.index;
  }

  get brushSize() {
    return this.tool.sized ? this.size : 1;
  }

  setTool(value) {
    this.tool = this.tools.find((tool) => tool.value === value);
    this.toolChoice.choose(value);
    this.#said();
  }

  setSize(size) {
    this.size = Math.min(LARGEST_BRUSH, Math.max(1, size));
    this.#said();
    this.view.invalidate();
  }

  choose(index) {
    this.chosen = index;
    if (this.tool.value === "erase" || this.tool.value === "pick" || this.tool.value === "room") this.setTool("brush");
    this.#said();
  }

  /** The class of a pixel becomes the one to paint with. */
  pick([x, y]) {
    const index = this.document.at(x, y);
    if (index) this.choose(index);
  }

  /** Bring buttons, legend and texts to the present state. */
  #said() {
    this.sizeInput.value = this.size;
    this.sizeInput.disabled = !this.tool.sized;
    this.sizeText.textContent = `${(this.size * this.metresPerPixel).toFixed(1)} m`;
    this.undoButton.disabled = !this.document.done.length;
    this.redoButton.disabled = !this.document.undone.length;
    this.empty.hidden = this.document.done.length > 0 || this.document.painted() > 0;
    [this.widthInput.value, this.heightInput.value] = this.#metres();
    for (const node of this.classButtons) {
      const holds = Number(node.dataset.index) === this.chosen;
      node.setAttribute("aria-checked", String(holds));
      node.tabIndex = holds ? 0 : -1;
    }
  }

  #metres() {
    const { width, height } = this.document;
    return [width, height].map((pixels) => Math.round(pixels * this.metresPerPixel * 1e4) / 1e4);
  }

  #shown() {
    this.view.refresh();
    this.view.fit();
    this.#finished();
  }

  #finished() {
    this.#said();
    const { width, height } = this.document;
    this.emit("change", { painted: this.document.painted(), pixels: [width, height], metres: this.#metres() });
  }

  beginStroke(at) {
    this.stroke = { start: at, last: at };
    this.document.begin();
    this.tool.begin(this, at);
    if (this.tool.spans) this.view.span = [at, at];
    this.empty.hidden = true;
    this.view.refresh();
  }

  moveStroke(at, isStraight) {
    if (!this.stroke || !this.tool.move) return;
    this.tool.move(this, at, { ...this.stroke, isStraight });
    if (this.tool.spans) this.view.span = [this.stroke.start, at];
    this.stroke.last = at;
    this.view.refresh();
  }

  endStroke() {
    if (!this.stroke) return;
    this.stroke = this.view.span = null;
    this.view.invalidate();
    if (this.document.commit()) this.#finished();
  }

  cancelStroke() {
    if (!this.stroke) return;
    this.document.revert();
    this.stroke = this.view.span = null;
    this.document.commit();
    this.view.refresh();
  }

  /** The pointer or cursor is over a pixel; null when it left. */
  pointAt(at) {
    this.view.pointer = at;
    this.view.invalidate();
    const index = at && this.document.at(...at);
    const metres = at?.map((pixel, axis) => (this.origin[axis] + (pixel + 0.5) * this.metresPerPixel).toFixed(1));
    const name = index ? ` · ${this.options.palette.find((entry) => entry.index === index)?.name}` : "";
    this.where.textContent = index == null ? "" : `x ${metres[0]} m, z ${metres[1]} m${name}`;
  }

  undo() {
    this.#step("undo");
  }

  redo() {
    this.#step("redo");
  }

  #step(way) {
    const { width, height } = this.document;
    if (!this.document[way]()) return;
    if (this.document.width === width && this.document.height === height) this.#rewritten();
    else this.#shown();
  }

  #rewritten() {
    this.view.refresh();
    this.#finished();
  }

  clear() {
    this.document.begin();
    this.document.indices.fill(0);
    if (this.document.commit()) this.#rewritten();
  }

  /** Another size in metres; what is painted stays where it is. */
  resize(width, height) {
    const sides = [width, height].map((metres) => Math.round(metres / this.metresPerPixel));
    if (!sides.every((side) => side >= 1 && side <= LARGEST_SIDE)) {
      this.#said();
      this.fail(`A plan is between ${this.metresPerPixel} and ${LARGEST_SIDE * this.metresPerPixel} m a side.`);
      return;
    }
    const { width: columns, height: rows, indices } = this.document.resized(...sides);
    this.document.replace(columns, rows, indices);
    this.#shown();
  }

  /** Another plan in pixels; `indices` as Uint8Array or base64. It can be undone, but for one of another scale. */
  set({ width, height, indices, metresPerPixel = this.metresPerPixel, origin = this.origin }) {
    const values = typeof indices === "string" ? bytesOf(indices) : indices;
    if (values.length !== width * height) throw new Error("This plan does not have as many pixels as it says.");
    const rescaled = metresPerPixel !== this.metresPerPixel || String(origin) !== String(this.origin);
    Object.assign(this, { metresPerPixel, origin });
    if (rescaled) this.document = new PlanDocument(width, height, Uint8Array.from(values));
    else this.document.replace(width, height, Uint8Array.from(values));
    this.#shown();
  }

  /** Show where blocks are done, busy or planned. */
  setBlocks(blocks) {
    this.blocks = blocks;
    this.view.invalidate();
  }

  value() {
    const { width, height, indices } = this.document;
    return { width, height, metresPerPixel: this.metresPerPixel, origin: this.origin, indices };
  }

  base64() {
    let letters = "";
    for (const value of this.document.indices) letters += String.fromCharCode(value);
    return btoa(letters);
  }

  toPng() {
    return encodePlan(this.value(), this.options.palette);
  }

  toLayout() {
    const names = Object.fromEntries(this.options.palette.map(({ index, name }) => [index, name]));
    return layoutOf(this, names, this.options.world);
  }

  /** Open a PNG or layout JSON; says so when colours were not in the legend. */
  open(source) {
    return this.attempt(async () => {
      const blob = source instanceof Blob ? source : await (await fetch(source, { signal: this.signal })).blob();
      const isJson = blob.type === "application/json" || /\.json$/i.test(source.name ?? "");
      const { palette } = this.options;
      const plan = isJson ? this.#fromJson(await blob.text()) : await decodePlan(blob, palette, LARGEST_SIDE);
      this.set(plan);
      if (plan.snapped) {
        this.notify(`${plan.snapped} pixels had colours outside the legend and became the nearest class.`);
      }
    });
  }

  #fromJson(text) {
    let layout;
    try {
      layout = JSON.parse(text);
    } catch {
      throw new Error("This file is not JSON.");
    }
    return drawLayout(layout, this.options.palette, this.metresPerPixel, LARGEST_SIDE);
  }

  async #choosePlan() {
    const file = await chooseFile(".png,.json,image/png,application/json");
    if (file) this.open(file);
  }

  #offerSaving(event) {
    const [host, at] = [this.element, event.currentTarget].map((node) => node.getBoundingClientRect());
    const x = ((at.left - host.left) / host.width) * 2 - 1;
    const y = 1 - ((at.bottom - host.top) / host.height) * 2;
    const asJson = () => save(new Blob([JSON.stringify(this.toLayout())]), `${this.options.name}.json`);
    const asPng = async () => save(await this.toPng(), `${this.options.name}.png`);
    const entries = [
      { label: "Picture (PNG)", icon: "picture", press: () => this.attempt(asPng) },
      { label: "Layout (JSON)", icon: "plan", press: asJson },
    ];
    this.menu.open("Save the plan", entries, x, y);
  }

  #key(event) {
    if (isTyping(event) || event.altKey) return;
    const used = event.ctrlKey || event.metaKey ? this.#command(event) : this.#plain(event);
    if (used) event.preventDefault();
  }

  #command(event) {
    const key = event.key.toLowerCase();
    if (key === "z") event.shiftKey ? this.redo() : this.undo();
    else if (key === "y") this.redo();
    else return false;
    return true;
  }

  #plain(event) {
    const tool = this.tools.find(({ keys }) => keys === event.key.toUpperCase());
    const entry = /^[1-9]$/.test(event.key) && this.offered[Number(event.key) - 1];
    if (tool) this.setTool(tool.value);
    else if (entry) this.choose(entry.index);
    else if (event.key === "[" || event.key === "]") this.setSize(this.size + (event.key === "]" ? 1 : -1));
    else if (event.key === "+" || event.key === "=") this.view.zoomBy(1.3);
    else if (event.key === "-") this.view.zoomBy(1 / 1.3);
    else if (event.key === "0") this.view.fit();
    else return document.activeElement === this.canvas ? this.#cursor(event) : this.#alongLegend(event);
    return true;
  }

  #alongLegend(event) {
    const step = ARROWS[event.key];
    const at = this.classButtons.indexOf(document.activeElement);
    if (!step || at < 0) return false;
    const next = this.classButtons[(at + step[0] + step[1] + this.classButtons.length) % this.classButtons.length];
    this.choose(Number(next.dataset.index));
    next.focus();
    return true;
  }

  /** Painting without a pointer: arrows move, Enter begins; a shape ends with the second Enter. */
  #cursor(event) {
    const step = ARROWS[event.key];
    const sides = [this.document.width, this.document.height];
    const at = this.view.pointer ?? sides.map((side) => Math.floor(side / 2));
    if (step) {
      const far = event.shiftKey ? 10 : 1;
      const next = at.map((place, axis) => Math.max(0, Math.min(place + step[axis] * far, sides[axis] - 1)));
      this.pointAt(next);
      this.moveStroke(next, false);
    } else if (event.key === "Enter") this.#enter(at);
    else if (event.key === "Escape") this.cancelStroke();
    else return event.key === " ";
    return true;
  }

  #enter(at) {
    if (this.stroke) this.endStroke();
    else {
      this.beginStroke(at);
      if (!this.tool.spans) this.endStroke();
    }
  }
}
