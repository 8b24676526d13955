/**
 * A scene that grows: block meshes as they arrive, on a ground with a metre grid.
 *
 * mount(element, options) -> WorldView
 *   options: frame {size, stride, floor} in metres; mode "orbit" | "walk" | "plan"; actions (true: clicking offers to
 *     grow, redo and undo); blocks [{i, k, revision}], busy [{i, k}], planned [{i, k}] and blockUrl
 *     "/files/JOB/blocks/{i}_{k}.bin?revision={revision}"; undoable [{i, k}], the blocks whose menu offers to undo (all
 *     when it is null); name of saved pictures.
 *   methods: sync({blocks, busy, planned}, urlOf(i, k, revision)), addBlock(i, k, ArrayBuffer, revision),
 *     removeBlock(i, k), clear(), select(i, k) or select(null), setMode(mode), fit(), picture() -> Promise<Blob>,
 *     and on, update, destroy of every component.
 *   events: grow {i, k}, redo {i, k}, undo {i, k}, select {i, k} or null, mode {mode}, loaded {blocks}, error {message}
 *
 * The binary block mesh (app/web/block_mesh.py writes it, block_mesh.js reads it), little-endian, no padding:
 *   bytes 0-3 magic "FSBM" · u32 version = 1 · u32 V vertices · u32 F faces
 *   f32 [V, 3] positions, world metres, y up · i8 [V, 4] unit normals times 127, fourth 0
 *   u8 [V, 4] sRGB colours, fourth 255 · u32 [F, 3] indices, counter-clockwise seen from outside
 */

import { readBlockMesh } from "./block_mesh.js";
import { cellAt, corner, freeBeside, indexOf, keyOf } from "./cells.js";
import { Component } from "./component.js";
import { bar, button, choice, element, pictureButton, cluster } from "./dom.js";
import { Shape } from "./gl.js";
import { around } from "./linear.js";
import { Menu } from "./menu.js";
import { openStage } from "./stage.js";
import { calm } from "./theme.js";
import { onPlane } from "./viewpoint.js";
import { MODES, ORBIT, walkMoves, Walker } from "./world_modes.js";

const DEFAULTS = {
  frame: { size: 3.2, stride: 2.4, floor: -0.15 },
  mode: "orbit",
  actions: true,
  blocks: null,
  busy: null,
  planned: null,
  blockUrl: "",
  undoable: null,
  name: "scene",
};
const RISE_MILLISECONDS = 700;
const BREATH_MILLISECONDS = 80;
const UP = [0, 1, 0];
const HINTS = {
  turn: "Drag to turn, scroll to zoom",
  change: "Click a + to grow there, a block to change it",
  walk: "Drag to look, W A S D to walk, click to go there",
};
const LABEL = "The scene in 3D. Arrow keys turn, plus and minus zoom, comma and full stop go through the blocks.";

export const mount = (target, options = {}) => new WorldView(target, options);

class WorldView extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-view");
    this.blocks = new Map(); // key -> {shape, mesh, box, revision, born}
    this.revisions = new Map(); // key -> the revision wanted
    this.busy = new Set();
    this.planned = new Set();
    this.free = new Set();
    this.chosen = null;
    this.pointed = null;
    this.#build();
    this.changed(this.options);
    if (this.options.mode !== "orbit") this.setMode(this.options.mode);
  }

  #build() {
    this.view = {
      element: this.element,
      signal: this.signal,
      label: LABEL,
      gestures: { ...walkMoves(this), ...this.#gestures() },
      paint: () => this.#paint(),
      restored: () => this.blocks.forEach((block) => (block.shape = this.#shape(block.mesh))),
      fail: (message) => this.fail(message),
    };
    this.stage = openStage(this.view, { target: [2, 0.6, 2], distance: 11, yaw: 0.65, pitch: 0.72, up: "y" });
    this.walker = new Walker(this);
    this.modes = choice("View", MODES, this.options.mode, (mode) => this.setMode(mode));
    this.state = element("span", { class: "fs-chip", hidden: true });
    const tools = [
      button({ label: "Show everything", icon: "fit", keys: "0", press: () => this.fit() }),
      pictureButton(this),
    ];
    const top = bar("top", this.modes, cluster(tools));
    this.hint = element("span", { class: "fs-chip fs-wide" });
    const bottom = bar("bottom", this.state, this.hint);
    this.menu = new Menu(this.element, () => this.stage?.canvas.focus());
    const empty = this.placeholder("Nothing here yet", "Blocks appear as they are made.");
    this.element.append(empty, top, bottom, this.notices);
    this.#describe();
  }

  #gestures() {
    return {
      tap: (x, y) => this.#tap(x, y),
      hover: (x, y) => this.#hover(x, y),
      home: () => this.fit(),
      key: (event) => this.#key(event),
    };
  }

  /** Options with new values: the scene as data, or the mode. */
  changed(options) {
    if (options.mode && this.stage && options.mode !== this.mode) this.setMode(options.mode);
    if (options.blocks || options.busy || options.planned || options.blockUrl) this.#syncOptions();
  }

  #syncOptions() {
    const { blocks, busy, planned, blockUrl } = this.options;
    const fillIn = (i, k, revision) =>
      blockUrl.replaceAll("{i}", i).replaceAll("{k}", k).replaceAll("{revision}", revision);
    this.sync({ blocks: blocks ?? [], busy: busy ?? [], planned: planned ?? [] }, fillIn);
  }

  /** Make the view show exactly this scene: meshes that are new or have another revision are fetched. */
  async sync({ blocks = [], busy = [], planned = [] }, urlOf) {
    if (!this.stage) return;
    this.busy = new Set(busy.map(({ i, k }) => keyOf(i, k)));
    this.planned = new Set(planned.map(({ i, k }) => keyOf(i, k)));
    const wanted = new Map(blocks.map(({ i, k, revision = 0 }) => [keyOf(i, k), revision]));
    for (const key of this.revisions.keys()) if (!wanted.has(key)) this.removeBlock(...indexOf(key));
    const fresh = [...wanted].filter(([key, revision]) => this.revisions.get(key) !== revision);
    fresh.forEach(([key, revision]) => this.revisions.set(key, revision));
    this.#refresh();
    await Promise.all(fresh.map(([key, revision]) => this.attempt(() => this.#fetch(key, revision, urlOf))));
    if (fresh.length) this.emit("loaded", { blocks: this.blocks.size });
  }

  async #fetch(key, revision, urlOf) {
    const [i, k] = indexOf(key);
    try {
      const answer = await fetch(urlOf(i, k, revision), { signal: this.signal });
      if (!answer.ok) throw new Error(`Block ${i}, ${k} did not arrive (${answer.status}). It is asked for again.`);
      const buffer = await answer.arrayBuffer();
      if (this.revisions.get(key) === revision) this.addBlock(i, k, buffer, revision);
    } catch (error) {
      if (this.revisions.get(key) === revision) this.revisions.delete(key); // so that the next sync asks again
      throw error;
    }
  }

  /** Show a block from its binary mesh; an older one of the same place goes. */
  addBlock(i, k, buffer, revision = 0) {
    if (!this.stage) return;
    const mesh = readBlockMesh(buffer);
    const key = keyOf(i, k);
    const isFirst = !this.blocks.size;
    this.blocks.get(key)?.shape.free();
    this.blocks.set(key, { mesh, shape: this.#shape(mesh), box: mesh.box, revision, born: performance.now() });
    this.revisions.set(key, revision);
    this.#refresh();
    if (isFirst) this.fit(0);
    else if (!this.touched) this.fit();
  }

  #shape({ positions, normals, colours, indices }) {
    return new Shape(this.stage.gl, { position: positions, normal: normals, colour: colours }, indices);
  }

  removeBlock(i, k) {
    const key = keyOf(i, k);
    this.blocks.get(key)?.shape.free();
    this.blocks.delete(key);
    this.revisions.delete(key);
    if (this.chosen === key) this.select(null);
    this.#refresh();
  }

  clear() {
    [...this.revisions.keys()].forEach((key) => this.removeBlock(...indexOf(key)));
    this.busy.clear();
    this.planned.clear();
    this.#refresh();
  }

  #refresh() {
    const finished = new Set(this.revisions.keys());
    const taken = new Set([...finished, ...this.busy, ...this.planned]);
    this.free = this.options.actions ? freeBeside(finished, taken) : new Set();
    this.empty.hidden = taken.size > 0;
    this.#describe();
    this.stage?.invalidate();
  }

  #describe() {
    const count = this.blocks.size;
    const making = this.busy.size ? `, ${this.busy.size} in the making` : "";
    const dot = this.busy.size ? element("i", { class: "fs-working" }) : null;
    this.state.replaceChildren(...[dot, `${count} ${count === 1 ? "block" : "blocks"}${making}`].filter(Boolean));
    this.state.hidden = !count && !this.busy.size;
    const walking = this.mode === "walk";
    const turning = this.options.actions && count ? HINTS.change : HINTS.turn;
    this.hint.textContent = walking ? HINTS.walk : turning;
  }

  /** Change between orbit, walk and plan; the camera glides. */
  setMode(mode) {
    if (!this.stage || mode === this.mode) return;
    const entry = MODES.find(({ value }) => value === mode) ?? ORBIT;
    this.mode = entry.value;
    const box = this.#box();
    this.modes.choose(this.mode);
    this.menu.close();
    this.stage.camera.glide(entry.goal(this.stage, box), () => this.stage.invalidate(), 700);
    this.#describe();
    this.emit("mode", { mode: this.mode });
  }

  /** Look at the whole scene. */
  fit(milliseconds = 450) {
    if (this.mode === "walk") this.setMode("orbit");
    else this.stage?.frame(this.#box(), {}, milliseconds);
  }

  #box() {
    const { frame } = this.options;
    const inPlan = this.mode === "plan" ? this.free : [];
    const cells = [...this.busy, ...this.planned, ...inPlan].map((key) => {
      const [x, z] = corner(frame, ...indexOf(key));
      return [[x, 0, z], [x + frame.stride, 0.5, z + frame.stride]];
    });
    const boxes = [...this.blocks.values()].map((block) => block.box).filter(Boolean);
    return around([...boxes, ...cells]) ?? [[0, 0, 0], [frame.size, 1, frame.size]];
  }

  picture() {
    return this.stage.picture();
  }

  #paint() {
    const { stage } = this;
    const box = this.#box();
    const middle = [(box[0][0] + box[1][0]) / 2, (box[0][2] + box[1][2]) / 2];
    const extent = Math.max(box[1][0] - box[0][0], box[1][2] - box[0][2]);
    stage.reach = extent * 4 + 60;
    stage.grid(-0.17, middle, extent * 2 + 14, 1);
    let isRising = false;
    for (const [key, block] of this.blocks) isRising = this.#paintBlock(key, block) || isRising;
    this.#paintCells();
    if (isRising) stage.invalidate();
    else if (this.busy.size && !calm()) this.#breathe();
  }

  /** Draw again soon, though not at every frame: cells in the making brighten and fade slowly. */
  #breathe() {
    clearTimeout(this.breath);
    this.breath = setTimeout(() => this.stage.invalidate(), BREATH_MILLISECONDS);
  }

  /** Whether the block still rises out of the ground. */
  #paintBlock(key, block) {
    const age = calm() ? 1 : Math.min(1, (performance.now() - block.born) / RISE_MILLISECONDS);
    const grown = 1 - (1 - age) ** 3;
    const model = Float32Array.of(1, 0, 0, 0, 0, grown, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1);
    const isChosen = key === this.chosen;
    const tintShare = isChosen ? 0.3 : key === this.pointed ? 0.12 : 0;
    this.stage.surface(block.shape, { model, presence: 0.3 + 0.7 * grown, tint: this.stage.colours.accent, tintShare });
    return age < 1;
  }

  #paintCells() {
    const { accent, soft } = this.stage.colours;
    if (this.mode !== "walk") {
      for (const key of this.free) {
        const strength = key === this.pointed || key === this.chosen ? 1 : 0.42;
        this.#paintCell(key, [...accent, 0.16 * strength], [...accent, 0.9 * strength], 1);
      }
    }
    for (const key of this.planned) this.#paintCell(key, [...soft, 0.08], [...soft, 0.35], 0);
    const breath = calm() ? 0.5 : 0.5 + 0.5 * Math.sin(performance.now() / 320);
    for (const key of this.busy) this.#paintCell(key, [...accent, 0.12 + 0.22 * breath], [...accent, 0.85], 0);
    if (this.chosen && this.blocks.has(this.chosen)) this.#paintCell(this.chosen, [...accent, 0], [...accent, 1], 0);
  }

  #paintCell(key, fill, border, plus) {
    const [x, z] = corner(this.options.frame, ...indexOf(key));
    this.stage.cell(x, z, this.options.frame.stride, 0.012, { fill, border, plus });
  }

  /** Key of the block or cell at a place of the picture. */
  #at(x, y) {
    const keys = [...this.blocks.keys()];
    const number = this.stage.pick(x, y, keys.map((key, index) => [index + 1, this.blocks.get(key).shape]));
    const ground = this.groundAt(x, y);
    const below = ground && keyOf(...cellAt(this.options.frame, ground[0], ground[2]));
    if (!number) return { key: this.free.has(below) ? below : null, ground };
    return { key: keys[number - 1], ground };
  }

  /** Where the ground is seen at a place of the picture. */
  groundAt(x, y) {
    return onPlane(this.stage.camera.ray(x, y, this.stage.aspect), UP, 0);
  }

  #hover(x, y) {
    const key = x === null || this.mode === "walk" || !this.options.actions ? null : this.#at(x, y).key;
    if (key === this.pointed) return;
    this.pointed = key;
    this.stage.canvas.classList.toggle("fs-pointing", key !== null);
    this.stage.invalidate();
  }

  #tap(x, y) {
    this.touched = true;
    if (this.mode === "walk") {
      this.walker.goTo(this.groundAt(x, y));
      return;
    }
    const { key } = this.#at(x, y);
    if (!key) this.select(null);
    else {
      this.select(...indexOf(key));
      if (this.options.actions) this.#offer(key, x, y);
    }
  }

  /** Mark a block or free cell; nothing is marked after select(null). */
  select(i, k) {
    const key = i === null ? null : keyOf(i, k);
    if (key === this.chosen) return;
    this.chosen = key;
    if (!key) this.menu.close();
    this.stage?.invalidate();
    this.emit("select", key && { i, k });
  }

  #offer(key, x, y) {
    const [i, k] = indexOf(key);
    const act = (event) => () => {
      this.select(null);
      this.emit(event, { i, k });
    };
    const isBlock = this.blocks.has(key);
    const grow = [{ label: "Grow here", icon: "plus", press: act("grow"), className: "fs-primary" }];
    const redo = { label: "Make it again", icon: "again", press: act("redo") };
    const undo = { label: "Undo the last change", icon: "undo", press: act("undo") };
    const canUndo = this.options.undoable?.some((block) => block.i === i && block.k === k) ?? true;
    const entries = isBlock ? [redo, ...(canUndo ? [undo] : [])] : grow;
    this.menu.open(isBlock ? `Block ${i}, ${k}` : `Free cell ${i}, ${k}`, entries, x, y, () => this.select(null));
  }

  #key(event) {
    this.touched = true;
    if (this.walker.key(event)) return true;
    const step = { ",": -1, ".": 1 }[event.key];
    if (step) this.#stepThrough(step);
    else if (event.key === "Enter" && this.chosen) this.#offer(this.chosen, 0, 0);
    else if (event.key === "Escape") this.select(null);
    else return false;
    return true;
  }

  #stepThrough(step) {
    const keys = [...this.blocks.keys(), ...this.free];
    if (!keys.length) return;
    const at = keys.indexOf(this.chosen);
    const key = keys[(at + step + keys.length + (at < 0 && step < 0 ? 1 : 0)) % keys.length];
    this.select(...indexOf(key));
    const kind = this.blocks.has(key) ? "Block" : "Free cell";
    this.menu.say(`${kind} ${key.replace(",", ", ")}. Enter opens its menu.`);
  }
}
