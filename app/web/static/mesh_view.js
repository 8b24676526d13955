/**
 * A mesh to look at before it is taken away: GLB, with its numbers, its wires, and a box to crop it by.
 *
 * mount(element, options) -> MeshView
 *   options: url of a GLB; crop [[x0, y0, z0], [x1, y1, z1]] or null; wireframe; up "y", "-y", "z", "-z" or a vector;
 *     label (what is shown, for people who cannot see it); name of saved pictures.
 *   methods: load(address, ArrayBuffer or Blob) -> Promise<{faces, vertices, bounds, size}>, setCrop(crop or null),
 *     setWireframe(boolean), fit(), picture() -> Promise<Blob>, clear(), and on, update, destroy of every component.
 *   events: loaded {faces, vertices, bounds, size}, wireframe {on}, crop {crop} (a side was moved), error {message}
 */

import { BoxHandles } from "./box_handles.js";
import { Component } from "./component.js";
import { bar, button, element, pictureButton, cluster } from "./dom.js";
import { Shape, texture } from "./gl.js";
import { readGlb } from "./glb.js";
import { boxLines, triangleLines } from "./outlines.js";
import { dot } from "./linear.js";
import { openStage } from "./stage.js";

const DEFAULTS = { url: null, crop: null, wireframe: false, up: "y", label: "The mesh in 3D", name: "mesh" };
const ATTRIBUTES = ["position", "normal", "colour", "uv"];
const UNIT = [[-1, -1, -1], [1, 1, 1]];

export const mount = (target, options = {}) => new MeshView(target, options);

class MeshView extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-view");
    this.label = `${this.options.label}. Arrow keys turn, plus and minus zoom.`;
    this.parts = [];
    this.gestures = { home: () => this.fit() };
    this.stage = openStage(this, { up: this.options.up, pitch: 0.4, yaw: 0.6 });
    this.#build();
    this.changed(this.options);
  }

  #build() {
    this.numbers = element("span", { class: "fs-chip", hidden: true });
    const toggle = () => this.setWireframe(!this.options.wireframe);
    this.wireButton = button({ label: "Wires", icon: "wire", keys: "T", press: toggle });
    const tools = [
      this.wireButton,
      button({ label: "Show everything", icon: "fit", keys: "0", press: () => this.fit() }),
      pictureButton(this),
    ];
    const top = bar("top", element("span"), cluster(tools));
    const bottom = bar("bottom", this.numbers);
    const empty = this.placeholder("No mesh yet", "The preview appears when the mesh is ready.");
    if (this.stage) this.handles = new BoxHandles(this.element, this.stage, (crop) => this.#cropped(crop), this.signal);
    this.element.append(empty, top, bottom, this.notices);
    this.gestures.key = (event) => {
      const isToggle = event.key.toLowerCase() === "t";
      if (isToggle) toggle();
      return isToggle;
    };
  }

  changed(options) {
    if (options.url) this.attempt(() => this.load(options.url));
    if ("crop" in options) this.setCrop(options.crop);
    if ("wireframe" in options) this.setWireframe(options.wireframe);
  }

  /** Show a GLB in place of what is shown. */
  async load(source) {
    const buffer = await this.#bytes(source);
    const mesh = await readGlb(buffer);
    if (this.signal.aborted || !this.stage) return null;
    this.clear();
    this.mesh = mesh;
    this.restored();
    const [low, high] = mesh.bounds;
    const size = high.map((value, axis) => value - low[axis]);
    this.empty.hidden = true;
    this.numbers.hidden = false;
    const sides = size.map((side) => Number(side.toPrecision(3))).join(" × ");
    this.numbers.textContent = `${mesh.faces.toLocaleString("en")} faces · ${sides}`;
    this.fit(0);
    const facts = { faces: mesh.faces, vertices: mesh.vertices, bounds: mesh.bounds, size };
    this.emit("loaded", facts);
    return facts;
  }

  async #bytes(source) {
    if (source instanceof ArrayBuffer) return source;
    if (source instanceof Blob) return source.arrayBuffer();
    const answer = await fetch(source, { signal: this.signal });
    if (!answer.ok) throw new Error(`The mesh did not arrive (${answer.status}).`);
    return answer.arrayBuffer();
  }

  /** Put everything on the graphics card, at first and after it was lost. */
  restored() {
    const { gl } = this.stage;
    this.parts = (this.mesh?.parts ?? []).map((part) => {
      const named = ATTRIBUTES.filter((name) => part[name]).map((name) => [name, part[name]]);
      const picture = part.image ? texture(gl, part.image) : undefined;
      return { ...part, shape: new Shape(gl, Object.fromEntries(named), part.indices), texture: picture };
    });
    this.setWireframe(this.options.wireframe);
    this.setCrop(this.options.crop);
  }

  setWireframe(on) {
    this.options.wireframe = on;
    this.wireButton.setAttribute("aria-pressed", String(on));
    for (const part of this.parts) {
      part.wires?.free();
      const { position, indices } = part;
      part.wires = on && indices ? new Shape(this.stage.gl, { position }, triangleLines(indices)) : null;
    }
    this.stage?.invalidate();
    this.emit("wireframe", { on });
  }

  #cropped(crop) {
    this.setCrop(crop);
    this.emit("crop", { crop });
  }

  /** Show a box with a handle on each side; what lies outside stays visible. */
  setCrop(crop) {
    this.options.crop = crop;
    this.handles?.show(crop);
    this.cropShape?.free();
    const position = crop && Float32Array.from(boxLines(crop));
    this.cropShape = position && this.stage ? new Shape(this.stage.gl, { position }) : null;
    this.stage?.invalidate();
  }

  clear() {
    for (const part of this.parts) {
      part.shape.free();
      part.wires?.free();
      if (part.texture) this.stage.gl.deleteTexture(part.texture);
    }
    this.parts = [];
    this.mesh = null;
    this.empty.hidden = false;
    this.numbers.hidden = true;
    this.stage?.invalidate();
  }

  fit(milliseconds = 450) {
    this.stage?.frame(this.mesh?.bounds ?? UNIT, {}, milliseconds);
  }

  picture() {
    return this.stage.picture();
  }

  paint(stage) {
    const box = this.mesh?.bounds ?? UNIT;
    const size = Math.hypot(...box[1].map((value, axis) => value - box[0][axis]));
    const middle = box[0].map((value, axis) => (value + box[1][axis]) / 2);
    const [side, up, front] = stage.camera.world;
    const lowest = Math.min(...box.map((corner) => dot(corner, up)));
    stage.reach = size * 6;
    const spacing = 10 ** Math.round(Math.log10(size / 12));
    stage.grid(lowest - size * 0.004, [dot(middle, side), dot(middle, front)], size * 2.2, spacing);
    for (const part of this.parts) {
      const { matrix: model, texture: picture, paint, colour } = part;
      stage.surface(part.shape, { model, picture, paint, linear: !colour });
      if (part.wires) stage.wires(part.wires, stage.colours.ink, part.matrix);
    }
    if (this.cropShape) stage.linesThrough(this.cropShape, stage.colours.accent);
    this.handles?.place();
  }
}
