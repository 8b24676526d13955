/**
 * A floor plan as class indices, one a pixel, with strokes that can be undone. Nothing here draws.
 *
 * A stroke lies between `begin()` and `commit()`; between them tools may paint as often as they like, and `revert()`
 * takes back what was painted since `begin`, for tools that show what would be.
 */

const DEEPEST = 200; // strokes that can be undone
export const LARGEST_SIDE = 4096;

export class PlanDocument {
  constructor(width, height, indices = null) {
    this.width = width;
    this.height = height;
    this.indices = indices ?? new Uint8Array(width * height);
    this.done = [];
    this.undone = [];
    this.before = null;
  }

  at(x, y) {
    return x < 0 || y < 0 || x >= this.width || y >= this.height ? null : this.indices[y * this.width + x];
  }

  /** Fill columns x0..x1 and rows y0..y1, ends included. */
  rectangle(x0, y0, x1, y1, value) {
    const [left, right] = [Math.max(0, Math.min(x0, x1)), Math.min(this.width - 1, Math.max(x0, x1))];
    const [top, bottom] = [Math.max(0, Math.min(y0, y1)), Math.min(this.height - 1, Math.max(y0, y1))];
    if (left > right) return;
    for (let y = top; y <= bottom; y++) this.indices.fill(value, y * this.width + left, y * this.width + right + 1);
  }

  /** A floor with walls around it, `thickness` pixels thick, inside the corners. */
  room(x0, y0, x1, y1, floor, wall, thickness) {
    const [left, right, top, bottom] = [Math.min(x0, x1), Math.max(x0, x1), Math.min(y0, y1), Math.max(y0, y1)];
    this.rectangle(left, top, right, bottom, wall);
    if (right - left < 2 * thickness || bottom - top < 2 * thickness) return;
    this.rectangle(left + thickness, top + thickness, right - thickness, bottom - thickness, floor);
  }

  /** A square brush of `size` pixels drawn from one place to another (Bresenham's line). */
  stroke(x0, y0, x1, y1, size, value) {
    const [dx, dy] = [Math.abs(x1 - x0), Math.abs(y1 - y0)];
    const [sx, sy] = [Math.sign(x1 - x0), Math.sign(y1 - y0)];
    const low = Math.floor((size - 1) / 2);
    let [x, y, error] = [x0, y0, dx - dy];
    for (let left = Math.max(dx, dy); left >= 0; left--) {
      this.rectangle(x - low, y - low, x - low + size - 1, y - low + size - 1, value);
      const twice = 2 * error;
      if (twice > -dy) [x, error] = [x + sx, error - dy];
      if (twice < dx) [y, error] = [y + sy, error + dx];
    }
  }

  /** Everything of one class that hangs together with (x, y) by sides becomes another, row by row. */
  fill(x, y, value) {
    const from = this.at(x, y);
    if (from === null || from === value) return;
    const waiting = [[x, y]];
    const isOld = (column, row) => this.at(column, row) === from;
    while (waiting.length) {
      const [column, row] = waiting.pop();
      if (!isOld(column, row)) continue;
      let [left, right] = [column, column];
      while (isOld(left - 1, row)) left--;
      while (isOld(right + 1, row)) right++;
      this.rectangle(left, row, right, row, value);
      for (const beside of [row - 1, row + 1]) {
        for (let at = left; at <= right; at++) {
          if (isOld(at, beside) && !(at > left && isOld(at - 1, beside))) waiting.push([at, beside]);
        }
      }
    }
  }

  begin() {
    this.before = this.indices.slice();
  }

  revert() {
    if (this.before) this.indices.set(this.before);
  }

  /** End a stroke; whether it changed anything. */
  commit() {
    const { before } = this;
    this.before = null;
    const changed = before && this.#difference(before);
    if (!changed) return false;
    this.#record(changed);
    return true;
  }

  /** Another sheet in place of this one, as one change that can be undone. */
  replace(width, height, indices) {
    const was = this.#sheet();
    Object.assign(this, { width, height, indices });
    this.#record({ was, is: this.#sheet() });
  }

  #sheet() {
    const { width, height, indices } = this;
    return { width, height, indices };
  }

  #record(change) {
    this.done.push(change);
    if (this.done.length > DEEPEST) this.done.shift();
    this.undone = [];
  }

  /** The rows that differ, as they were and as they are. */
  #difference(before) {
    const first = this.indices.findIndex((value, index) => value !== before[index]);
    if (first < 0) return null;
    const last = this.indices.findLastIndex((value, index) => value !== before[index]);
    return { first, was: before.slice(first, last + 1), is: this.indices.slice(first, last + 1) };
  }

  undo() {
    const change = this.done.pop();
    if (!change) return false;
    this.#apply(change.was, change.first);
    this.undone.push(change);
    return true;
  }

  redo() {
    const change = this.undone.pop();
    if (!change) return false;
    this.#apply(change.is, change.first);
    this.done.push(change);
    return true;
  }

  /** Pixels from `first` on, or a whole sheet. */
  #apply(state, first) {
    if (first === undefined) Object.assign(this, state);
    else this.indices.set(state, first);
  }

  /** Share of the sheet that holds something. */
  painted() {
    let count = 0;
    for (const value of this.indices) if (value) count++;
    return count / this.indices.length;
  }

  /** The same plan on a sheet of another size; what lies outside is lost. */
  resized(width, height) {
    const next = new PlanDocument(width, height);
    const columns = Math.min(width, this.width);
    for (let y = 0; y < Math.min(height, this.height); y++) {
      next.indices.set(this.indices.subarray(y * this.width, y * this.width + columns), y * width);
    }
    return next;
  }

  /** The plan as few rectangles: [{value, x0, y0, x1, y1}], ends excluded; void is left out. */
  rectangles() {
    const taken = new Uint8Array(this.indices.length);
    const found = [];
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const value = this.indices[y * this.width + x];
        if (value && !taken[y * this.width + x]) found.push(this.#grow(x, y, value, taken));
      }
    }
    return found;
  }

  #grow(x, y, value, taken) {
    const free = (column, row) => {
      const index = row * this.width + column;
      return this.indices[index] === value && !taken[index];
    };
    let [x1, y1] = [x, y];
    while (x1 < this.width && free(x1, y)) x1++;
    const isRow = (row) => {
      for (let column = x; column < x1; column++) if (!free(column, row)) return false;
      return true;
    };
    while (y1 < this.height && isRow(y1)) y1++;
    for (let row = y; row < y1; row++) taken.fill(1, row * this.width + x, row * this.width + x1);
    return { value, x0: x, y0: y, x1, y1 };
  }
}
