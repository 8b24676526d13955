/**
 * Curves that grow while a job runs: PSNR or a loss over steps, seconds or anything else.
 *
 * mount(element, options) -> Curve
 *   options: series [{name, points [[x, y], …], unit, log}] of at most four; x (what the axis counts); goal (a number
 *     to reach, drawn as a line, or null); label (what is shown, for people who cannot see it).
 *   methods: setSeries(series), append(name, x, y), clear(), and on, update, destroy of every component.
 *   events: error {message}
 */

import { Component } from "./component.js";
import { axisTicks, compact, scaleOf, thinned } from "./curve_scale.js";
import { element, svg } from "./dom.js";

const DEFAULTS = { series: [], x: "steps", goal: null, label: "Curve" };
const MARGIN = { left: 46, right: 16, top: 14, bottom: 26 };
const MOST_POINTS = 800;
const MOST_SERIES = 4;

export const mount = (target, options = {}) => new Curve(target, options);

class Curve extends Component {
  constructor(target, options) {
    super(target, options, DEFAULTS, "fs-curve");
    this.plot = svg("svg", { class: "fs-plot", role: "img", tabindex: "0" });
    this.legend = element("div", { class: "fs-curve-legend" });
    const empty = this.placeholder("", "The curve begins with the first measurement.");
    this.stage = element("div", { class: "fs-curve-stage" }, this.plot, empty);
    this.element.append(this.legend, this.stage, this.notices);
    const observer = new ResizeObserver(() => this.draw());
    observer.observe(this.stage);
    this.endings.push(() => observer.disconnect());
    const { signal } = this;
    this.plot.addEventListener("pointermove", (event) => this.#pointAt(event), { signal });
    this.plot.addEventListener("pointerleave", () => this.#point(null), { signal });
    this.plot.addEventListener("keydown", (event) => this.#key(event), { signal });
  }

  changed() {
    this.draw();
  }

  setSeries(series) {
    this.options.series = series;
    this.draw();
  }

  /** One more point; the curve is made when it is new. */
  append(name, x, y) {
    const series = this.options.series.find((entry) => entry.name === name);
    if (series) series.points.push([x, y]);
    else this.options.series = [...this.options.series, { name, points: [[x, y]] }];
    this.draw();
  }

  clear() {
    this.setSeries([]);
  }

  /** Draw with the next frame, however many points came. */
  draw() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      if (!this.signal.aborted) this.#draw();
    });
  }

  #draw() {
    const isPoint = (series) => ([x, y]) => Number.isFinite(x) && Number.isFinite(y) && !(series.log && y <= 0);
    const valid = (series) => ({ ...series, points: series.points.filter(isPoint(series)) });
    this.series = this.options.series.slice(0, MOST_SERIES).map(valid).filter(({ points }) => points.length);
    this.empty.hidden = this.series.length > 0;
    this.#describe();
    if (!this.series.length) {
      this.plot.replaceChildren();
      return;
    }
    this.#setScales();
    const { width, height } = this.size;
    this.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.cursor = svg("g", {});
    const curves = this.series.flatMap((series, index) => this.#curve(series, index));
    this.plot.replaceChildren(this.#axes(), ...this.#goal(), ...curves, this.cursor);
  }

  #setScales() {
    const [width, height] = [this.stage.clientWidth || 300, this.stage.clientHeight || 160];
    this.size = { width, height };
    const points = this.series.flatMap((series) => series.points);
    const goal = this.options.goal === null ? [] : [this.options.goal];
    const isLog = this.series.every((series) => series.log);
    const across = points.map((point) => point[0]);
    this.across = scaleOf(across, [MARGIN.left, width - MARGIN.right], { flush: true });
    const up = [...points.map((point) => point[1]), ...goal];
    this.upward = scaleOf(up, [height - MARGIN.bottom, MARGIN.top], { log: isLog });
  }

  #axes() {
    const { width, height } = this.size;
    const rows = axisTicks(this.upward, Math.max(2, Math.floor(height / 46))).flatMap((value) => {
      const y = this.upward.place(value);
      const line = svg("line", { class: "fs-rule", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y });
      return [line, svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, compact(value))];
    });
    const columns = axisTicks(this.across, Math.max(2, Math.floor(width / 110))).map((value) =>
      svg("text", { x: this.across.place(value), y: height - 8, "text-anchor": "middle" }, compact(value)),
    );
    const corner = { x: width - MARGIN.right, y: height - 8, "text-anchor": "end" };
    const name = svg("text", corner, this.options.x);
    return svg("g", { class: "fs-axes" }, rows, columns.slice(0, -1), name);
  }

  #goal() {
    if (this.options.goal === null) return [];
    const y = this.upward.place(this.options.goal);
    const right = this.size.width - MARGIN.right;
    const line = svg("line", { class: "fs-goal", x1: MARGIN.left, x2: right, y1: y, y2: y });
    return [line, svg("text", { class: "fs-goal-name", x: right, y: y - 5, "text-anchor": "end" }, "goal")];
  }

  #curve({ points }, index) {
    const places = thinned(points, MOST_POINTS).map(([x, y]) => [this.across.place(x), this.upward.place(y)]);
    const line = places.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
    const [first, last] = [places[0], places.at(-1)];
    const floor = this.size.height - MARGIN.bottom;
    const area = `M${first[0]},${floor}L${line.join("L")}L${last[0]},${floor}Z`;
    const tone = `fs-tone-${index + 1}`;
    return [
      this.series.length === 1 ? svg("path", { class: `fs-area ${tone}`, d: area }) : "",
      svg("path", { class: `fs-line ${tone}`, d: `M${line.join("L")}` }),
      svg("circle", { class: `fs-dot ${tone}`, cx: last[0], cy: last[1], r: 4 }),
    ];
  }

  /** The newest value of each curve, or those at the cursor. */
  #describe(at = null) {
    const entries = this.series.map(({ name, points, unit = "" }, index) => {
      const [x, y] = at === null ? points.at(-1) : nearest(points, at);
      const when = at === null ? "" : ` at ${compact(x)}`;
      const value = element("b", {}, `${compact(y)} ${unit}`.trim());
      return element("span", {}, element("i", { class: `fs-key fs-tone-${index + 1}` }), `${name} `, value, when);
    });
    this.legend.replaceChildren(...entries);
    const spoken = this.series.map(({ name, points, unit = "" }) => `${name} ${compact(points.at(-1)[1])} ${unit}`);
    this.plot.setAttribute("aria-label", `${this.options.label}: ${spoken.join(", ") || "nothing measured yet"}`);
  }

  #pointAt(event) {
    const box = this.plot.getBoundingClientRect();
    if (this.series?.length) this.#point(this.across.value(event.clientX - box.left));
  }

  /** Put the cursor at an x, or take it away. */
  #point(x) {
    this.at = x;
    if (!this.series?.length) return;
    this.#describe(x);
    if (x === null) this.cursor.replaceChildren();
    else this.cursor.replaceChildren(...this.#cursor(x));
  }

  #cursor(x) {
    const found = this.series.map(({ points }) => nearest(points, x));
    const at = this.across.place(found[0][0]);
    const floor = this.size.height - MARGIN.bottom;
    const line = svg("line", { class: "fs-cursor", x1: at, x2: at, y1: MARGIN.top, y2: floor });
    const dots = found.map(([px, py], index) => {
      const [cx, cy] = [this.across.place(px), this.upward.place(py)];
      return svg("circle", { class: `fs-dot fs-tone-${index + 1}`, cx, cy, r: 4.5 });
    });
    return [line, ...dots];
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.#point(null);
    if (!step || !this.series?.length) return;
    event.preventDefault();
    const { points } = this.series[0];
    const now = this.at === null || this.at === undefined ? points.length : points.indexOf(nearest(points, this.at));
    this.#point(points[Math.min(points.length - 1, Math.max(0, now + step))][0]);
  }
}

/** The point whose x is nearest. */
function nearest(points, x) {
  return points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
}
