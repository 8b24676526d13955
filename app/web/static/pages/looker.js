/** The live viewer of a page: mounted for the fields wanted, freed when out of sight. */

import { mount } from "../field_view.js";
import { element } from "../dom.js";
import { get } from "./api.js";
import { place, toast } from "./parts.js";

export class Looker {
  constructor(node) {
    this.node = node;
    this.key = "";
    this.view = null;
  }

  /** Look at one field, or two with a slider between them ([{id, label}]). */
  async look(fields) {
    const key = fields.map((field) => field.id).join(" ");
    if (key === this.key) return;
    this.key = key;
    this.#free();
    this.node.replaceChildren(element("div", { class: "fp-opening" }, element("i"), "Opening the field"));
    try {
      const opened = await get(`/api/fields/${fields[0].id}`);
      if (key !== this.key) return;
      this.#show(fields, opened);
    } catch (error) {
      this.node.replaceChildren(element("div", { class: "fp-opening" }, "The field cannot be shown now."));
      toast(error.message, true);
    }
  }

  #show(fields, opened) {
    this.node.replaceChildren();
    const options = { fields, lookUrl: "/api/look", ...placeOf(opened.viewpoint, this.node) };
    if (opened.modes) options.modes = opened.modes;
    this.view = place(this.node, mount, options);
  }

  /** Give the viewer back; the next `look` mounts it anew. */
  rest() {
    this.key = "";
    this.#free();
  }

  #free() {
    this.view?.destroy();
    this.view = null;
  }
}

const DEGREES = 180 / Math.PI;
const AXES = ["x", "y", "z"];

/** A viewpoint of the server as the viewer's camera; further away where the viewer is narrower than high. */
function placeOf(viewpoint, node) {
  if (!viewpoint) return {};
  const distance = viewpoint.distance / Math.min(1, node.clientWidth / node.clientHeight || 1);
  return {
    camera: {
      target: viewpoint.centre, distance, yaw: 30, pitch: (viewpoint.elevation ?? 0.35) * DEGREES,
      fov: (viewpoint.fov ?? 0.7) * DEGREES,
    },
    up: upName(viewpoint.up),
  };
}

/** The name of the axis nearest to a direction, such as "-y". */
function upName(up) {
  if (!Array.isArray(up)) return up ?? "y";
  const axis = up.map(Math.abs).indexOf(Math.max(...up.map(Math.abs)));
  return `${up[axis] < 0 ? "-" : ""}${AXES[axis]}`;
}
