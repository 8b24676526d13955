/** The three ways to see a world: turning it, walking in it, and its plan. */

import { add, mix, subtract } from "./linear.js";

const EYE_HEIGHT = 1.6; // metres
const STRIDE = 0.35; // metres for a key press
const HEAD_TURN = 2.2; // radians for a drag over the height
const NEAR_NOTHING = 0.05; // metres from eye to target while walking
const LENS = 0.7; // radians, vertical
const WIDE = 1.25;
const LONG = 0.035; // nothing leans
const KEYS = { w: [1, 0], s: [-1, 0], a: [0, -1], d: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };

/** What a camera with another lens must be to frame the box from its present side. */
function framed(stage, box, change) {
  const before = stage.camera.state();
  Object.assign(stage.camera, change);
  const framing = stage.camera.framing(box, stage.aspect);
  Object.assign(stage.camera, before);
  return { ...change, ...framing };
}

/** The yaw nearest to the present one that looks along an axis. */
const upright = (yaw) => 2 * Math.PI * Math.round(yaw / (2 * Math.PI));

export const ORBIT = {
  value: "orbit",
  label: "Orbit",
  icon: "orbit",
  text: true,
  goal: (stage, box) => framed(stage, box, { fov: LENS, pitch: 0.72 }),
};

const WALK = {
  value: "walk",
  label: "Walk",
  icon: "walk",
  text: true,
  goal: (stage, box) => {
    const [x, , z] = mix(box[0], box[1], 0.5);
    return { fov: WIDE, pitch: 0.02, distance: NEAR_NOTHING, target: [x, EYE_HEIGHT, z] };
  },
};

const PLAN = {
  value: "plan",
  label: "Plan",
  icon: "plan",
  text: true,
  goal: (stage, box) => framed(stage, box, { fov: LONG, pitch: Math.PI / 2, yaw: upright(stage.camera.yaw) }),
};

export const MODES = [ORBIT, WALK, PLAN];

/** Gestures whose meaning depends on the mode; the others are the stage's own. */
export function walkMoves(world) {
  const act = (change) => (...numbers) => {
    const { camera } = world.stage;
    world.touched = true;
    camera.settle();
    change(camera, ...numbers);
    world.stage.invalidate();
  };
  return {
    turn: act((camera, dx, dy) => {
      if (world.mode === "walk") camera.look(-dx * HEAD_TURN, -dy * HEAD_TURN);
      else if (world.mode === "plan") camera.pan(dx, dy);
      else camera.orbit(dx * 3.2, dy * 3.2);
    }),
    pan: act((camera, dx, dy) => (world.mode === "walk" ? camera.step(dy * 4, -dx * 4) : camera.pan(dx, dy))),
    zoom: act((camera, factor) => (world.mode === "walk" ? camera.step((1 - factor) * 2, 0) : camera.zoom(factor))),
  };
}

/** Steps on the ground, by keys or towards a place. */
export class Walker {
  constructor(world) {
    this.world = world;
  }

  /** Whether the key was a step. */
  key(event) {
    const step = this.world.mode === "walk" && KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!step) return false;
    const { camera } = this.world.stage;
    camera.settle();
    camera.step(step[0] * STRIDE, step[1] * STRIDE);
    this.world.stage.invalidate();
    return true;
  }

  /** Glide to above a place of the ground, as the eye is tall. */
  goTo(place) {
    if (!place) return;
    const { camera, invalidate } = this.world.stage;
    const shift = subtract([place[0], EYE_HEIGHT, place[2]], camera.eye());
    camera.glide({ target: add(camera.target, shift) }, invalidate.bind(this.world.stage), 600);
  }
}
