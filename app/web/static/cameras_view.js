/**
 * The cameras of a capture in 3D: where they stand, where they look, and which are kept for testing.
 *
 * mount(element, options) -> CamerasView
 *   options: cameras [{camera_to_world 3 x 4 (OpenGL axes), width, height, focal [fx, fy], name, split, picture
 *     (address, optional)}]; bounds [[low], [high]] of the scene, or null; up "y", "-y", "z", "-z" or a vector;
 *     points [[x, y, z], …] to show too.
 *   methods: setCameras(cameras, bounds), select(index or null), fit(), picture() -> Promise<Blob>, and on, update,
 *     destroy of every component.
 *   events: select {index, name} or null, error {message}
 */

import { Component } from "./component.js";
import { bar, button, element } from "./dom.js";
import { Shape } from "./gl.js";
import { around, dot, length, subtract } from "./linear.js";
import { boxLines, cameraLines } from "./outlines.js";
import { openStage } from "./stage.js";
import { onPlane } from "./viewpoint.js";

const DEFAULTS = { cameras: [], bounds: null, up: "y", points: [] };
const UNIT = [[-1, -1, -1], [1, 1, 1]];
const TRAINING = "train";
const NEAR = 0.045; // of the picture's height: how near a click must be
const LABEL = "Cameras of the capture in 3D. Arrow keys turn, comma and full stop go through the cameras.";

export const mount = (target, options = {}) => new CamerasView(target, options);

const eyeOf = ({ camera_to_world: rows }) => rows.map((row) => row[3]);

class CamerasView extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-view");
    this.label = LABEL;
    this.chosen = null;
    this.gestures = {
      home: () => this.fit(),
      tap: (x, y) => this.select(this.#nearest(x, y)),
      hover: (x, y) => this.stage.canvas.classList.toggle("fs-pointing", x !== null && this.#nearest(x, y) !== null),
      key: (event) => this.#key(event),
    };
    this.stage = openStage(this, { up: this.options.up, pitch: 0.45, yaw: 0.6 });
    this.#build();
    this.setCameras(this.options.cameras, this.options.bounds);
  }

  #build() {
    this.count = element("span", { class: "fs-chip" });
    this.name = element("span", { class: "fs-chip", "aria-live": "polite", hidden: true });
    this.thumb = element("img", { alt: "" });
    this.thumbFrame = element("figure", { class: "fs-thumb", hidden: true }, this.thumb);
    const fit = button({ label: "Show everything", icon: "fit", keys: "0", press: () => this.fit() });
    const top = bar("top", this.count, fit);
    const bottom = bar("bottom", this.name);
    const empty = this.placeholder("No cameras yet", "They appear when photos with poses are read.");
    this.element.append(empty, top, this.thumbFrame, bottom, this.notices);
  }

  changed(options) {
    if (options.cameras || options.bounds) this.setCameras(this.options.cameras, this.options.bounds);
    else if (options.points) this.restored();
  }

  setCameras(cameras, bounds = null) {
    Object.assign(this.options, { cameras, bounds });
    const tests = cameras.filter(({ split = TRAINING }) => split !== TRAINING).length;
    const kept = tests ? ` · ${tests} for testing` : "";
    this.count.textContent = `${cameras.length} ${cameras.length === 1 ? "camera" : "cameras"}${kept}`;
    this.count.hidden = !cameras.length;
    this.empty.hidden = cameras.length > 0;
    const eyes = cameras.map(eyeOf).map((eye) => [eye, eye]);
    this.box = around(bounds ? [...eyes, bounds] : eyes) ?? UNIT;
    this.select(null);
    this.restored();
    this.fit(0);
  }

  /** Put the lines on the graphics card, at first and after it was lost. */
  restored() {
    if (!this.stage) return;
    const { cameras, bounds, points } = this.options;
    Object.values(this.shapes ?? {}).forEach((shape) => shape?.free());
    const depth = length(subtract(this.box[1], this.box[0])) * 0.045;
    const { gl } = this.stage;
    const shape = (values) => (values.length ? new Shape(gl, { position: Float32Array.from(values) }) : null);
    const of = (wanted) => shape(cameras.filter(wanted).flatMap((camera) => cameraLines(camera, depth)));
    this.shapes = {
      training: of(({ split = TRAINING }) => split === TRAINING),
      testing: of(({ split = TRAINING }) => split !== TRAINING),
      chosen: this.chosen === null ? null : shape(cameraLines(cameras[this.chosen], depth * 1.5)),
      bounds: bounds ? shape(boxLines(bounds)) : null,
      points: shape(points.flat()),
    };
    this.stage.invalidate();
  }

  /** Mark a camera; its name and picture are shown. */
  select(index) {
    this.chosen = index;
    const camera = index === null ? null : this.options.cameras[index];
    this.name.hidden = !camera;
    const words = camera ? [camera.name ?? `Camera ${index + 1}`, camera.split] : [];
    this.name.textContent = words.filter(Boolean).join(" · ");
    this.thumbFrame.hidden = !camera?.picture;
    if (camera?.picture) Object.assign(this.thumb, { src: camera.picture, alt: `Photo ${camera.name ?? index + 1}` });
    this.restored();
    this.emit("select", camera && { index, name: camera.name ?? null });
  }

  /** The camera whose place is nearest to (x, y) in the picture; null when none is near. */
  #nearest(x, y) {
    const { camera, aspect } = this.stage;
    const { origin, direction } = camera.ray(x, y, aspect);
    const back = camera.axes().back;
    const far = this.options.cameras.map((entry) => {
      const eye = eyeOf(entry);
      const height = dot(eye, back);
      const hit = onPlane({ origin, direction }, back, height);
      const depth = dot(subtract(origin, eye), back);
      return hit && depth > 0 ? length(subtract(hit, eye)) / (2 * depth * Math.tan(camera.fov / 2)) : Infinity;
    });
    const best = far.indexOf(Math.min(...far));
    return far[best] < NEAR ? best : null;
  }

  #key(event) {
    const step = { ",": -1, ".": 1 }[event.key];
    const count = this.options.cameras.length;
    if (event.key === "Escape") this.select(null);
    else if (step && count) this.select(((this.chosen ?? (step > 0 ? -1 : 0)) + step + count) % count);
    else return false;
    return true;
  }

  fit(milliseconds = 450) {
    this.stage?.frame(this.box, {}, milliseconds);
  }

  picture() {
    return this.stage.picture();
  }

  paint(stage) {
    const { accent, soft, good, ink } = stage.colours;
    const [side, up, front] = stage.camera.world;
    const size = length(subtract(this.box[1], this.box[0]));
    const middle = this.box[0].map((value, axis) => (value + this.box[1][axis]) / 2);
    const lowest = Math.min(...this.box.map((corner) => dot(corner, up)));
    stage.reach = size * 6;
    const spacing = 10 ** Math.round(Math.log10(size / 12));
    stage.grid(lowest - size * 0.01, [dot(middle, side), dot(middle, front)], size * 2.2, spacing);
    const { training, testing, chosen, bounds, points } = this.shapes;
    if (bounds) stage.lines(bounds, [...soft, 1]);
    if (points) stage.lines(points, [...soft, 1], stage.gl.POINTS);
    if (training) stage.lines(training, [...accent, 1]);
    if (testing) stage.lines(testing, [...good, 1]);
    if (chosen) stage.linesThrough(chosen, ink);
  }
}
