/**
 * Where a view is seen from: one description for orbiting, walking and plans.
 *
 * The eye is `distance` from `target`; yaw and pitch (radians, pitch > 0 from above) turn it about `up`. Walking is a
 * distance near nothing; a plan is a pitch of 90 degrees with a lens so long that nothing leans.
 */

import { add, cross, dot, length, mix, multiply, perspective, scale, subtract, unit, viewMatrix } from "./linear.js";
import { calm } from "./theme.js";

const STEEPEST = Math.PI / 2;
const NAMED = { x: [1, 0, 0], y: [0, 1, 0], z: [0, 0, 1], "-x": [-1, 0, 0], "-y": [0, -1, 0], "-z": [0, 0, -1] };
const STATE = ["target", "distance", "yaw", "pitch", "fov"];

/** Unit vector of "y", "-z" or [x, y, z]. */
export const upVector = (up) => unit(NAMED[up] ?? up);

/** Axes [side, up, front] of a right-handed world with this up. */
function worldAxes(up) {
  const front = unit(cross(Math.abs(up[0]) > 0.9 ? [0, 1, 0] : [1, 0, 0], up));
  return [unit(cross(up, front)), up, front];
}

export class Viewpoint {
  constructor({ target = [0, 0, 0], distance = 6, yaw = 0.6, pitch = 0.5, fov = 0.7, up = "y" } = {}) {
    Object.assign(this, { target, distance, yaw, pitch, fov });
    this.world = worldAxes(upVector(up));
  }

  #toWorld([x, y, z]) {
    const [side, up, front] = this.world;
    return add(add(scale(side, x), scale(up, y)), scale(front, z));
  }

  /** Unit axes of the camera: right, up, back (from the target to the eye). */
  axes() {
    const [sy, cy, sp, cp] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.pitch), Math.cos(this.pitch)];
    return {
      right: this.#toWorld([cy, 0, -sy]),
      up: this.#toWorld([-sy * sp, cp, -cy * sp]),
      back: this.#toWorld([sy * cp, sp, cy * cp]),
    };
  }

  eye() {
    return add(this.target, scale(this.axes().back, this.distance));
  }

  /** Three rows of four: OpenGL axes and position. */
  cameraToWorld() {
    const { right, up, back } = this.axes();
    const eye = this.eye();
    return [0, 1, 2].map((row) => [right[row], up[row], back[row], eye[row]]);
  }

  /** World to clip space for things within `reach` of the target. */
  viewProjection(aspect, reach) {
    const { right, up, back } = this.axes();
    const far = this.distance + reach;
    const near = Math.max(this.distance - reach, far / 4000, 0.02);
    return multiply(perspective(this.fov, aspect, near, far), viewMatrix(this.eye(), right, up, back));
  }

  /** Ray through a place of the picture, x and y in [-1, 1] with y up. */
  ray(x, y, aspect) {
    const { right, up, back } = this.axes();
    const tan = Math.tan(this.fov / 2);
    const sideways = add(scale(right, x * tan * aspect), scale(up, y * tan));
    return { origin: this.eye(), direction: unit(subtract(sideways, back)) };
  }

  /** Turn about the target, by radians. */
  orbit(dx, dy) {
    this.yaw -= dx;
    this.pitch = Math.min(STEEPEST, Math.max(-STEEPEST, this.pitch + dy));
  }

  /** Turn the head where the eye is, by radians. */
  look(dx, dy) {
    const eye = this.eye();
    this.orbit(dx, dy);
    this.target = subtract(eye, scale(this.axes().back, this.distance));
  }

  /** Shift so that what lies at the target's depth follows a pointer, in shares of the picture's height. */
  pan(dx, dy) {
    const { right, up } = this.axes();
    const height = 2 * this.distance * Math.tan(this.fov / 2);
    this.target = add(this.target, add(scale(right, -dx * height), scale(up, dy * height)));
  }

  zoom(factor) {
    this.distance = Math.min(1e6, Math.max(1e-3, this.distance * factor));
  }

  /** Move along the ground, in units: forward and to the right. */
  step(forward, right) {
    const axes = this.axes();
    const up = this.world[1];
    const ahead = unit(cross(up, axes.right));
    this.target = add(this.target, add(scale(ahead, forward), scale(axes.right, right)));
  }

  /** What frames a box from the same side: a change for `glide`. */
  framing([low, high], aspect, margin = 0.97) {
    const radius = length(subtract(high, low)) / 2 || 1;
    const half = Math.atan(Math.tan(this.fov / 2) * Math.min(1, aspect));
    return { target: mix(low, high, 0.5), distance: (margin * radius) / Math.sin(half) };
  }

  state() {
    return Object.fromEntries(STATE.map((key) => [key, this[key]]));
  }

  /** Go to another state, slowly unless people asked for calm; `drawn` is called at every step. */
  glide(change, drawn, milliseconds = 450) {
    const from = this.state();
    const to = { ...from, ...change };
    const began = performance.now();
    const span = calm() ? 0 : milliseconds;
    this.gliding = {};
    const token = this.gliding;
    const advance = (now) => {
      if (this.gliding !== token) return;
      const t = span ? Math.min(1, Math.max(0, (now - began) / span)) : 1;
      this.#between(from, to, t * t * (3 - 2 * t));
      drawn();
      if (t < 1) requestAnimationFrame(advance);
    };
    advance(began);
  }

  /** End a glide where it is: the person takes over. */
  settle() {
    this.gliding = null;
  }

  // Distance and lens change together so that the picture's scale at the target moves evenly, however long the lens.
  #between(from, to, t) {
    const scaleOf = (state) => state.distance * Math.tan(state.fov / 2);
    this.target = mix(from.target, to.target, t);
    this.yaw = from.yaw + (to.yaw - from.yaw) * t;
    this.pitch = from.pitch + (to.pitch - from.pitch) * t;
    this.fov = Math.exp(Math.log(from.fov) * (1 - t) + Math.log(to.fov) * t);
    const size = Math.exp(Math.log(scaleOf(from)) * (1 - t) + Math.log(scaleOf(to)) * t);
    this.distance = size / Math.tan(this.fov / 2);
  }
}

/** Where a ray meets the plane `dot(normal, x) = height`; nothing when it does not. */
export function onPlane({ origin, direction }, normal, height) {
  const slope = dot(direction, normal);
  const t = (height - dot(origin, normal)) / slope;
  return Number.isFinite(t) && t > 0 ? add(origin, scale(direction, t)) : null;
}
