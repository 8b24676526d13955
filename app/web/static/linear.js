/** Vectors of three numbers, and 4 x 4 matrices in columns as WebGL wants them. */

export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const length = (a) => Math.hypot(...a);
export const mix = (a, b, t) => a.map((value, axis) => value + (b[axis] - value) * t);

export function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

/** Unit vector; a zero vector stays. */
export const unit = (a) => scale(a, 1 / (length(a) || 1));

/** Matrix product a b. */
export function multiply(a, b) {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += a[k * 4 + row] * b[column * 4 + k];
      out[column * 4 + row] = sum;
    }
  }
  return out;
}

/** Perspective projection; `fov` is vertical, in radians. */
export function perspective(fov, aspect, near, far) {
  const f = 1 / Math.tan(fov / 2);
  const depth = 1 / (near - far);
  const [slope, shift] = [(far + near) * depth, 2 * far * near * depth];
  return Float32Array.of(f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, slope, -1, 0, 0, shift, 0);
}

/** World to camera, for a camera at `eye` with unit axes right, up, back. */
export function viewMatrix(eye, right, up, back) {
  const [x, y, z] = [right, up, back].map((axis) => -dot(axis, eye));
  return Float32Array.of(
    right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0, x, y, z, 1,
  );
}

/** The point m p of a matrix and a point. */
export function transformed(m, p) {
  return [0, 1, 2].map((row) => m[row] * p[0] + m[4 + row] * p[1] + m[8 + row] * p[2] + m[12 + row]);
}

export const IDENTITY = Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1);

/** Smallest box [low, high] around boxes; nothing for none. */
export function around(boxes) {
  if (!boxes.length) return null;
  const low = [0, 1, 2].map((axis) => Math.min(...boxes.map((box) => box[0][axis])));
  const high = [0, 1, 2].map((axis) => Math.max(...boxes.map((box) => box[1][axis])));
  return [low, high];
}
