/** Handles on the sides of a box in a 3D view: dragged, or moved with the arrow keys, they shift their side. */

import { element } from "./dom.js";
import { placeOf } from "./gestures.js";
import { dot, mix, subtract } from "./linear.js";

const AXES = ["x", "y", "z"];
const THINNEST = 0.02; // of the box's longest side
const KEY_STEP = 0.02;
const STEEPEST = 0.999; // cosine between the view and an axis, beyond which a drag along it means nothing
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

export class BoxHandles {
  /** On `node`, over the picture of `stage`; moved(box) is told every change of [low, high]. */
  constructor(node, stage, moved, signal) {
    Object.assign(this, { stage, moved, signal, box: null });
    this.sides = [0, 1, 2].flatMap((axis) => [0, 1].map((end) => this.#side(axis, end)));
    this.layer = element("div", { class: "fs-box-handles", hidden: true }, this.sides.map(({ handle }) => handle));
    node.append(this.layer);
  }

  /** Stand on this box, or nowhere for null. */
  show(box) {
    this.box = box;
    this.layer.hidden = !box;
    this.place();
  }

  /** Follow what the stage has drawn. */
  place() {
    if (!this.box || !this.stage.matrix) return;
    for (const side of this.sides) {
      const [x, y, w] = this.#seen(this.#centre(side));
      side.handle.hidden = w <= 0;
      Object.assign(side.handle.style, { left: `${50 * (1 + x / w)}%`, top: `${50 * (1 - y / w)}%` });
    }
  }

  #side(axis, end) {
    const label = `Crop box, ${AXES[axis]} ${end ? "to" : "from"}. Arrow keys move it.`;
    const side = { axis, end, handle: element("button", { type: "button", "aria-label": label }) };
    const listen = (name, act) => side.handle.addEventListener(name, act, { signal: this.signal });
    listen("pointerdown", (event) => {
      side.handle.setPointerCapture(event.pointerId);
      side.from = { along: this.#along(side, event), value: this.box[end][axis], centre: this.#centre(side) };
    });
    listen("pointermove", (event) => {
      if (!side.handle.hasPointerCapture(event.pointerId)) return;
      const along = this.#along(side, event, side.from.centre);
      if (along !== null && side.from.along !== null) this.#move(side, side.from.value + along - side.from.along);
    });
    listen("keydown", (event) => {
      if (!KEYS[event.key]) return;
      event.preventDefault();
      this.#move(side, this.box[end][axis] + KEYS[event.key] * KEY_STEP * this.#longest());
    });
    return side;
  }

  #centre({ axis, end }) {
    const centre = mix(...this.box, 0.5);
    centre[axis] = this.box[end][axis];
    return centre;
  }

  #longest() {
    return Math.max(...subtract(this.box[1], this.box[0]));
  }

  /** x, y and w of a point in clip space. */
  #seen(point) {
    const m = this.stage.matrix;
    return [0, 1, 3].map((row) => m[row] * point[0] + m[4 + row] * point[1] + m[8 + row] * point[2] + m[12 + row]);
  }

  /** How far along the side's axis, from its centre, the pointer's ray comes nearest to it; null when it runs along. */
  #along(side, event, centre = this.#centre(side)) {
    const { origin, direction } = this.stage.camera.ray(...placeOf(this.stage.canvas, event), this.stage.aspect);
    const between = subtract(centre, origin);
    const cosine = direction[side.axis];
    if (Math.abs(cosine) > STEEPEST) return null;
    return (cosine * dot(direction, between) - between[side.axis]) / (1 - cosine * cosine);
  }

  #move({ axis, end }, value) {
    const least = THINNEST * this.#longest();
    const box = this.box.map((corner) => [...corner]);
    box[end][axis] = end ? Math.max(value, box[0][axis] + least) : Math.min(value, box[1][axis] - least);
    this.moved(box);
  }
}
