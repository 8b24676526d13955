/** Points of line drawings, [x, y, z] after [x, y, z]; each pair of points is one line. */

import { add, scale } from "./linear.js";

const EDGES = [[0, 1], [1, 3], [3, 2], [2, 0], [4, 5], [5, 7], [7, 6], [6, 4], [0, 4], [1, 5], [2, 6], [3, 7]];

/** The twelve edges of a box [low, high]. */
export function boxLines([low, high]) {
  const corner = (n) => [0, 1, 2].map((axis) => ((n >> axis) & 1 ? high : low)[axis]);
  return EDGES.flatMap(([a, b]) => [...corner(a), ...corner(b)]);
}

/** The edges of triangles. */
export function triangleLines(indices) {
  const lines = new Uint32Array(indices.length * 2);
  for (let face = 0; face < indices.length; face += 3) {
    const [a, b, c] = [indices[face], indices[face + 1], indices[face + 2]];
    lines.set([a, b, b, c, c, a], face * 2);
  }
  return lines;
}

/** A camera as a pyramid with a small roof that tells its top; `depth` long. */
export function cameraLines({ camera_to_world: rows, width, height, focal }, depth) {
  const column = (index) => rows.map((row) => row[index]);
  const [right, up, back, eye] = [0, 1, 2, 3].map(column);
  const [w, h] = [(width / focal[0] / 2) * depth, (height / focal[1] / 2) * depth];
  const at = (x, y) => add(add(eye, scale(back, -depth)), add(scale(right, x * w), scale(up, y * h)));
  const corners = [at(-1, -1), at(1, -1), at(1, 1), at(-1, 1)];
  const sides = corners.flatMap((corner, n) => [...eye, ...corner, ...corner, ...corners[(n + 1) % 4]]);
  const roof = [at(-0.4, 1.12), at(0.4, 1.12), at(0, 1.6)];
  return [...sides, ...roof.flatMap((point, n) => [...point, ...roof[(n + 1) % 3]])];
}
