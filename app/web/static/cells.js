/** Where blocks lie on the ground; the same numbers as BlockFrame in scenegen/blocks.py. */

export const keyOf = (i, k) => `${i},${k}`;
export const indexOf = (key) => key.split(",").map(Number);

/** Corner (x, z) of the square that a block has to itself: its window without half of the overlaps. */
export function corner(frame, i, k) {
  const shift = (frame.size - frame.stride) / 2;
  return [i * frame.stride + shift, k * frame.stride + shift];
}

/** Block (i, k) whose square holds the place (x, z). */
export function cellAt(frame, x, z) {
  const shift = (frame.size - frame.stride) / 2;
  return [Math.floor((x - shift) / frame.stride), Math.floor((z - shift) / frame.stride)];
}

/** Keys of the cells that touch a finished one along a side and are not taken. */
export function freeBeside(finished, taken) {
  const free = new Set();
  for (const key of finished) {
    const [i, k] = indexOf(key);
    for (const [di, dk] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      const beside = keyOf(i + di, k + dk);
      if (!taken.has(beside)) free.add(beside);
    }
  }
  return free;
}
