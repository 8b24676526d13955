/**
 * A neural field seen live: the server renders what the camera sees, coarse while it moves and fine when it rests.
 * Two fields are shown under one camera with a slider between them.
 *
 * mount(element, options) -> FieldView
 *   options: fields [{id, label}], one or two; lookUrl; modes and mode ("rgb", "depth", "normal", "opacity"); camera
 *     {target, distance, yaw, pitch, fov} in degrees; up "y", "-y", "z", "-z" or a vector; split (0 to 1); pixels
 *     {coarse, fine}, the most of each; name of saved pictures.
 *   methods: setCamera(camera), camera() -> {…, cameraToWorld}, setMode(mode), setFields(fields), refresh(), fit(),
 *     picture() -> Promise<Blob>, and on, update, destroy of every component.
 *   events: camera {target, distance, yaw, pitch, fov, cameraToWorld}, mode {mode}, split {split},
 *     frame {field, quality, milliseconds, width, height}, error {message}
 *
 * Request: POST lookUrl with JSON {field, camera_to_world (3 rows of 4, OpenGL axes), fov (vertical, degrees), width,
 * height, mode, quality "coarse" | "fine", sequence (rising), view (a name for this viewer)}; the answer is a JPEG or
 * PNG of any size, 409 for a request that a later one overtook, 429 or 503 with Retry-After, or JSON {error}.
 */

import { Component } from "./component.js";
import { bar, button, choice, element, icon, pictureButton, cluster } from "./dom.js";
import { gestures } from "./gestures.js";
import { Looker, sizeFor } from "./looker.js";
import { Viewpoint } from "./viewpoint.js";

const DEFAULTS = {
  fields: [],
  lookUrl: "/api/look",
  modes: ["rgb", "depth", "normal", "opacity"],
  mode: "rgb",
  camera: { target: [0, 0, 0], distance: 4, yaw: 30, pitch: 25, fov: 40 },
  up: "y",
  split: 0.5,
  pixels: { coarse: 60000, fine: 480000 },
  name: "view",
};
const WORDS = { rgb: "Colour", depth: "Depth", normal: "Normals", opacity: "Opacity" };
const TURN = 3.2;
const DEGREE = Math.PI / 180;
const SPLIT_KEYS = { ArrowLeft: -0.05, ArrowDown: -0.05, ArrowRight: 0.05, ArrowUp: 0.05, Home: -1, End: 1 };
const LABEL = "Live view of the field. Arrow keys turn, Shift and arrows shift, plus and minus zoom.";

export const mount = (target, options = {}) => new FieldView(target, options);

function inRadians({ target, distance, yaw, pitch, fov }) {
  const degrees = Object.entries({ yaw, pitch, fov }).filter(([, value]) => value !== undefined);
  const lengths = Object.entries({ target, distance }).filter(([, value]) => value !== undefined);
  return Object.fromEntries([...lengths, ...degrees.map(([key, value]) => [key, value * DEGREE])]);
}

class FieldView extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-view");
    this.viewName = crypto.getRandomValues(new Uint32Array(2)).join("");
    this.sequence = 0;
    this.states = new Map();
    this.#startCamera();
    this.#build();
    this.setFields(this.options.fields);
  }

  #startCamera() {
    const { camera, up } = this.options;
    this.viewpoint = new Viewpoint({ ...inRadians({ ...DEFAULTS.camera, ...camera }), up });
    this.home = this.viewpoint.state();
  }

  #build() {
    const { modes, mode } = this.options;
    this.surface = element("div", { class: "fs-surface", tabindex: "0", role: "application", "aria-label": LABEL });
    this.panes = element("div", { class: "fs-pane" });
    const look = { text: true, className: "fs-keeps-text" };
    const entries = modes.map((value) => ({ ...look, value, label: WORDS[value] ?? value }));
    this.modeChoice = choice("What to show", entries, mode, (value) => this.setMode(value));
    const tools = [
      button({ label: "Back to the start", icon: "fit", keys: "0", press: () => this.fit() }),
      pictureButton(this),
    ];
    const top = bar("top", this.modeChoice, cluster(tools));
    this.state = element("span", { class: "fs-chip fs-wide" });
    this.labels = bar("bottom");
    const empty = this.placeholder("No field yet", "Open one, or fit one to photos or a mesh.");
    this.element.append(this.panes, empty, this.surface, this.#handle(), top, this.labels, this.notices);
    gestures(this.surface, this.#moves(), this.signal);
    const observer = new ResizeObserver(() => this.refresh());
    observer.observe(this.element);
    this.endings.push(() => observer.disconnect());
  }

  #moves() {
    const moved = (act) => (...numbers) => {
      this.viewpoint.settle();
      act(...numbers);
      this.#moved();
    };
    return {
      turn: moved((dx, dy) => this.viewpoint.orbit(dx * TURN, dy * TURN)),
      pan: moved((dx, dy) => this.viewpoint.pan(dx, dy)),
      zoom: moved((factor) => this.viewpoint.zoom(factor)),
      home: () => this.fit(),
    };
  }

  #handle() {
    const range = { role: "slider", "aria-valuemin": 0, "aria-valuemax": 100 };
    const attributes = { ...range, type: "button", class: "fs-handle", "aria-label": "Border between the two fields" };
    this.handle = element("button", attributes, element("span", {}, icon("split")));
    const { signal } = this;
    const drag = (event) => {
      if (!this.handle.hasPointerCapture(event.pointerId)) return;
      const box = this.element.getBoundingClientRect();
      this.#setSplit((event.clientX - box.left) / box.width);
    };
    this.handle.addEventListener("pointerdown", (event) => this.handle.setPointerCapture(event.pointerId), { signal });
    this.handle.addEventListener("pointermove", drag, { signal });
    const press = (event) => {
      if (!(event.key in SPLIT_KEYS)) return;
      event.preventDefault();
      this.#setSplit(this.options.split + SPLIT_KEYS[event.key]);
    };
    this.handle.addEventListener("keydown", press, { signal });
    return this.handle;
  }

  #setSplit(split) {
    this.options.split = Math.min(1, Math.max(0, split));
    const percent = this.options.split * 100;
    this.handle.style.left = `${percent}%`;
    this.handle.setAttribute("aria-valuenow", Math.round(percent));
    if (this.shown[1]) this.shown[1].canvas.style.clipPath = `inset(0 0 0 ${percent}%)`;
    this.emit("split", { split: this.options.split });
  }

  changed(options) {
    if (options.up || options.camera) {
      this.#startCamera();
      this.#moved();
    }
    if (options.mode) this.setMode(options.mode);
    if (options.fields) this.setFields(options.fields);
    if (options.split !== undefined) this.#setSplit(options.split);
  }

  /** Show these fields, one or two, under the present camera. */
  setFields(fields) {
    this.shown?.forEach(({ looker }) => looker.stop());
    this.options.fields = fields.slice(0, 2);
    this.shown = this.options.fields.map((field) => this.#pane(field));
    this.panes.replaceChildren(...this.shown.map(({ canvas }) => canvas));
    this.handle.hidden = fields.length < 2;
    this.empty.hidden = fields.length > 0;
    const [first, second] = this.options.fields.map(({ label }) => element("span", { class: "fs-chip" }, label));
    this.labels.replaceChildren(...(second ? [first, this.state, second] : [this.state]));
    this.state.hidden = !fields.length;
    this.#setSplit(this.options.split);
    this.refresh();
  }

  #pane({ id }) {
    const canvas = element("canvas", { class: "fs-frame" });
    const looker = new Looker({
      ask: (quality, pixels, signal) => this.#ask(id, quality, pixels, signal),
      show: (blob, facts) => this.#show(id, canvas, blob, facts),
      told: (state, sentence) => this.#told(id, state, sentence),
      pixels: this.options.pixels,
      signal: this.signal,
    });
    return { id, canvas, looker };
  }

  #ask(field, quality, pixels, signal) {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [width, height] = sizeFor(pixels, this.element.clientWidth * ratio, this.element.clientHeight * ratio);
    const body = {
      field,
      camera_to_world: this.viewpoint.cameraToWorld(),
      fov: this.viewpoint.fov / DEGREE,
      width,
      height,
      mode: this.options.mode,
      quality,
      sequence: ++this.sequence,
      view: `${this.viewName}-${field}`,
    };
    const headers = { "Content-Type": "application/json" };
    return fetch(this.options.lookUrl, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  async #show(field, canvas, blob, facts) {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    this.facts = { field, ...facts, width, height };
    this.emit("frame", this.facts);
  }

  #told(field, state, sentence) {
    this.states.set(field, state);
    const states = this.shown.map(({ id }) => this.states.get(id));
    const isWaiting = states.includes("waiting");
    const isWorking = isWaiting || states.includes("working");
    const dot = isWorking ? element("i", { class: "fs-working" }) : null;
    const { width, height, milliseconds } = this.facts ?? {};
    const rest = this.facts ? `${width} × ${height} in ${(milliseconds / 1000).toFixed(1)} s` : "No picture";
    const words = isWaiting ? "Waiting for the server" : isWorking ? "Rendering" : rest;
    this.state.replaceChildren(...[dot, words].filter(Boolean));
    if (sentence) this.fail(sentence);
  }

  #moved() {
    this.emit("camera", this.camera());
    this.refresh();
  }

  /** Ask for new pictures. */
  refresh() {
    if (this.element.clientWidth) this.shown?.forEach(({ looker }) => looker.want());
  }

  /** Where it is seen from, in degrees. */
  camera() {
    const { target, distance, yaw, pitch, fov } = this.viewpoint.state();
    const angles = Object.fromEntries(Object.entries({ yaw, pitch, fov }).map(([key, value]) => [key, value / DEGREE]));
    return { target, distance, ...angles, cameraToWorld: this.viewpoint.cameraToWorld() };
  }

  setCamera(camera) {
    this.viewpoint.glide(inRadians(camera), () => this.#moved());
  }

  /** Back to where the view began. */
  fit() {
    this.viewpoint.glide(this.home, () => this.#moved());
  }

  setMode(mode) {
    this.options.mode = mode;
    this.modeChoice.choose(mode);
    this.emit("mode", { mode });
    this.refresh();
  }

  /** What is seen now; of two fields with the border between them. */
  picture() {
    const [first, second] = this.shown.map(({ canvas }) => canvas);
    const { width, height } = first;
    const whole = element("canvas", { width, height });
    const drawing = whole.getContext("2d");
    drawing.drawImage(first, 0, 0);
    if (second) {
      const edge = this.options.split;
      const [from, at] = [second.width * edge, width * edge];
      drawing.drawImage(second, from, 0, second.width - from, second.height, at, 0, width - at, height);
    }
    return new Promise((resolve) => whole.toBlob(resolve, "image/png"));
  }
}
