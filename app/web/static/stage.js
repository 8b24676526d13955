/**
 * A canvas with a camera, light, a ground and gestures: what world, mesh and cameras views share.
 *
 * It draws only when something changed. A view gives `paint(stage)`, draws with `surface`, `lines`, `grid` and `cell`,
 * and may override gestures. A lost context is taken up again by `restored()`.
 */

import { element } from "./dom.js";
import { gestures } from "./gestures.js";
import { context, program, Shape, texture, use } from "./gl.js";
import { IDENTITY } from "./linear.js";
import { SHADERS } from "./shaders.js";
import { colour, watchTheme } from "./theme.js";
import { upVector, Viewpoint } from "./viewpoint.js";

const TURN = 3.2; // radians for a drag over the height
const TOKENS = ["sky", "ground", "ground-line", "accent", "soft", "good", "ink"];
const LARGEST_RATIO = 2;

/** A stage, or null where the browser draws no 3D: the view then says so and stays as it is. */
export function openStage(view, camera) {
  try {
    return new Stage(view, camera);
  } catch (error) {
    view.element.querySelector("canvas")?.remove();
    view.fail(error.message);
    return null;
  }
}

class Stage {
  /** view: {element, signal, label, paint, restored, gestures}; camera: what Viewpoint takes. */
  constructor(view, camera = {}) {
    this.view = view;
    this.camera = new Viewpoint(camera);
    this.up = upVector(camera.up ?? "y");
    this.reach = 20;
    const attributes = { class: "fs-surface", tabindex: "0", role: "application", "aria-label": view.label };
    this.canvas = element("canvas", attributes);
    view.element.append(this.canvas);
    this.gl = context(this.canvas);
    this.#prepare();
    this.#listen();
    this.readTheme();
  }

  #prepare() {
    const { gl } = this;
    this.programs = Object.fromEntries(
      Object.entries(SHADERS).map(([name, [vertex, fragment]]) => [name, program(gl, vertex, fragment)]),
    );
    this.white = texture(gl);
    this.square = new Shape(gl, { position: Float32Array.of(0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0) });
    gl.enable(gl.DEPTH_TEST);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  }

  #listen() {
    const { signal } = this.view;
    gestures(this.canvas, { ...this.#moves(), ...this.view.gestures }, signal);
    const observer = new ResizeObserver(() => this.invalidate());
    observer.observe(this.canvas);
    const stopTheme = watchTheme(() => this.readTheme());
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault(), { signal });
    this.canvas.addEventListener("webglcontextrestored", () => this.#restore(), { signal });
    signal.addEventListener("abort", () => {
      observer.disconnect();
      stopTheme();
      this.gl.getExtension("WEBGL_lose_context")?.loseContext();
    });
  }

  #restore() {
    this.#prepare();
    this.view.restored?.();
    this.invalidate();
  }

  #moves() {
    const moved = (act) => (...numbers) => {
      this.camera.settle();
      act(...numbers);
      this.invalidate();
    };
    return {
      turn: moved((dx, dy) => this.camera.orbit(dx * TURN, dy * TURN)),
      pan: moved((dx, dy) => this.camera.pan(dx, dy)),
      zoom: moved((factor) => this.camera.zoom(factor)),
    };
  }

  readTheme() {
    this.colours = Object.fromEntries(TOKENS.map((name) => [name, colour(this.view.element, `--fs-${name}`)]));
    this.invalidate();
  }

  get aspect() {
    return (this.canvas.clientWidth || 1) / (this.canvas.clientHeight || 1);
  }

  /** Draw with the next frame. */
  invalidate() {
    if (this.waiting || this.view.signal.aborted) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    const { gl, canvas } = this;
    if (gl.isContextLost() || !canvas.clientWidth) return;
    const ratio = Math.min(LARGEST_RATIO, devicePixelRatio || 1);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(...this.colours.sky, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.matrix = this.camera.viewProjection(this.aspect, this.reach);
    this.view.paint(this);
  }

  /** A lit shape. look: model, tint, tintShare, presence (0 hidden in the sky .. 1), picture, linear, mode. */
  surface(shape, look = {}) {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, look.picture ?? this.white);
    gl.vertexAttrib4f(2, ...(look.paint ?? [0.6, 0.6, 0.62, 1]));
    use(gl, this.programs.surface, {
      view_projection: this.matrix,
      model: look.model ?? IDENTITY,
      eye: this.camera.eye(),
      up: this.up,
      sky: this.colours.sky,
      tint: look.tint ?? [1, 1, 1],
      tint_share: look.tintShare ?? 0,
      presence: look.presence ?? 1,
      linear_colours: look.linear ? 1 : 0,
    });
    shape.draw(look.mode ?? gl.TRIANGLES);
  }

  /** Lines or points in one colour [r, g, b, a], or their own when it is left out. */
  lines(shape, tint = [0, 0, 0, 0], mode = this.gl.LINES, model = IDENTITY) {
    use(this.gl, this.programs.line, { view_projection: this.matrix, model, tint });
    shape.draw(mode);
  }

  /** The ground at `height` along up, `reach` around `middle` [side, front]. */
  grid(height, middle, reach, spacing = 1) {
    const [side, up, front] = this.camera.world;
    const { sky, ground, "ground-line": line } = this.colours;
    const shape = this.#patch(middle[0] - reach, middle[1] - reach, 2 * reach);
    const origin = up.map((value) => value * height);
    const common = { view_projection: this.matrix, origin, side, front };
    use(this.gl, this.programs.grid, { ...common, sky, ground, line, middle, reach, spacing });
    shape.draw(this.gl.TRIANGLE_STRIP);
    shape.free();
  }

  #patch(x, z, size) {
    const corners = [x, z, 0, x + size, z, 0, x, z + size, 0, x + size, z + size, 0];
    return new Shape(this.gl, { position: Float32Array.from(corners) });
  }

  /** A square of the ground from corner (x, z), `size` wide; fill and border [r, g, b, a]; plus 0..1. */
  cell(x, z, size, height, { fill, border, plus = 0 }) {
    const { gl } = this;
    gl.enable(gl.BLEND);
    gl.depthMask(false);
    const placed = { origin: [x, height, z], side: [size, 0, 0], front: [0, 0, size] };
    use(gl, this.programs.cell, { view_projection: this.matrix, ...placed, fill, border, size, plus });
    this.square.draw(gl.TRIANGLE_STRIP);
    gl.depthMask(true);
    gl.disable(gl.BLEND);
  }

  /** Lines seen through whatever is before them, faintly. */
  linesThrough(shape, rgb) {
    this.lines(shape, [...rgb, 1]);
    this.#faintly(() => this.lines(shape, [...rgb, 0.4]));
  }

  #faintly(draw) {
    const { gl } = this;
    gl.enable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    draw();
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
  }

  /** The edges of triangles, thin enough that many of them do not hide the surface. */
  wires(shape, rgb, model) {
    this.gl.enable(this.gl.BLEND);
    this.lines(shape, [...rgb, 0.3], this.gl.LINES, model);
    this.gl.disable(this.gl.BLEND);
  }

  /** Number of the shape seen at (x, y) in [-1, 1]; shapes: [[number from 1, Shape], …]; 0 for none. */
  pick(x, y, shapes) {
    const { gl, canvas } = this;
    const at = [((x + 1) / 2) * canvas.width, ((y + 1) / 2) * canvas.height].map(Math.floor);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(...at, 1, 1);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    for (const [number, shape] of shapes) {
      const tint = [(number & 255) / 255, (number >> 8) / 255, 0, 1];
      use(gl, this.programs.pick, { view_projection: this.matrix, model: IDENTITY, tint });
      shape.draw();
    }
    const pixel = new Uint8Array(4);
    gl.readPixels(...at, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    gl.disable(gl.SCISSOR_TEST);
    this.draw();
    return pixel[0] + 256 * pixel[1];
  }

  /** Look at a box from the side the camera is on. */
  frame(box, change = {}, milliseconds = 450) {
    const wanted = { ...this.camera.framing(box, this.aspect), ...change };
    this.camera.glide(wanted, () => this.invalidate(), milliseconds);
  }

  /** What is seen now, as a PNG. */
  picture() {
    this.draw();
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }
}
