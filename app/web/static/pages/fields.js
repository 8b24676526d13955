/** Fields: choose a source, fit with a live preview and a curve, then look around. */

import { mount as mountCameras } from "../cameras_view.js";
import { mount as mountCurve } from "../curve.js";
import { download, fileUrl, get, hasFile } from "./api.js";
import { JobPanel } from "./job_panel.js";
import { isActive, jobs, makesField } from "./jobs.js";
import { Looker } from "./looker.js";
import { go, Page } from "./page.js";
import { attempt, isValid, numbers, place, reveal, setText, show, showOnly, valuesOf } from "./parts.js";
import { Sources } from "./sources.js";
import { bytes, decibels, duration, whole } from "./words.js";

export class FieldsPage extends Page {
  constructor(name, root) {
    super(name, root);
    this.panel = new JobPanel(this.parts.job);
    this.sources = new Sources(this, (source) => this.#chosen(source));
    this.looker = new Looker(this.parts.viewer);
    this.wish = "";
    for (const tab of this.parts.views.querySelectorAll("[data-view]"))
      tab.addEventListener("click", () => this.#look(tab.dataset.view));
    const press = (part, action) => this.parts[part].addEventListener("click", () => action(this.parts[part]));
    press("fit", (button) => attempt(button, () => this.#fit()));
    press("download", () => download(fileUrl(this.job, "field.safetensors")));
    press("toConvert", () => go("convert", this.jobId));
    press("toExport", () => go("export", this.jobId));
    press("film", (button) => attempt(button, () => this.#film()));
    press("again", () => this.#begin());
    this.#chosen(null);
  }

  get kinds() {
    return ["fit"];
  }

  shows(job) {
    return makesField(job);
  }

  leave() {
    super.leave();
    this.looker.rest();
  }

  #chosen(source) {
    const usable = ["capture", "mesh"].includes(source?.result?.kind);
    const unit = source?.result?.kind === "mesh" ? "a surface" : "a field";
    setText(this.parts.chosen, usable ? `${source.title} becomes ${unit}.` : "Choose a source first.");
    this.parts.fit.disabled = !usable;
    if (!this.jobId || source) this.#showCameras(source?.result?.report);
    if (source && this.job && !isActive(this.job)) this.follow(null);
    this.update();
  }

  #showCameras(report) {
    this.cameraView?.destroy();
    this.cameraView = null;
    if (!report?.cameras?.length) return;
    show(this.parts.cameras, true);
    this.cameraView = place(this.parts.cameras, mountCameras, { cameras: report.cameras, bounds: report.bounds, up: report.up ?? "z" });
  }

  async #fit() {
    if (!isValid(this.parts.settings)) return;
    const { backend, seconds, preset, kind, own, seed } = valuesOf(this.parts.settings);
    const parameters = {
      source: this.sources.chosen.id, backend, preset, kind, seconds: own ?? Number(seconds), seed: seed ?? 0,
    };
    this.wish = "";
    this.follow(await jobs.submit("fit", parameters));
    reveal(this.parts.stage);
  }

  async #film() {
    await jobs.submit("render", { field: this.jobId, frames: 90 });
    go("library");
  }

  #begin() {
    this.looker.rest();
    this.wish = "";
    this.follow(null);
    window.scrollTo({ top: 0, behavior: "smooth" });
  }

  #look(view) {
    this.wish = view;
    this.update();
  }

  update() {
    const { job, parts } = this;
    const source = jobs.find(this.takeWanted());
    if (source && ["capture", "mesh"].includes(source.result?.kind)) return this.sources.choose(source);
    this.panel.update(job);
    const done = job?.state === "done" && makesField(job);
    const preview = hasFile(job, "preview.jpg");
    const available = { viewer: done, preview: preview && !done, cameras: Boolean(this.cameraView) };
    if (done && this.seen !== job.id) this.wish = "";
    if (done) this.seen = job.id;
    const best = Object.keys(available).find((view) => available[view]) ?? "";
    this.view = available[this.wish] ? this.wish : best;
    this.#stage(available);
    if (preview) this.#preview(job);
    if (done && this.view === "viewer") this.looker.look([{ id: job.id, label: job.title }]);
    else this.looker.rest();
    show(parts.results, Boolean(done));
    this.#figures(job);
    return this.#curve(job);
  }

  #stage(available) {
    const { viewer, preview, cameras, waiting } = this.parts;
    const shown = { viewer, preview, cameras }[this.view] ?? waiting;
    showOnly([viewer, preview, cameras, waiting], shown);
    const several = Object.values(available).filter(Boolean).length > 1;
    show(this.parts.views, several);
    for (const tab of this.parts.views.children) {
      show(tab, available[tab.dataset.view]);
      tab.setAttribute("aria-selected", String(tab.dataset.view === this.view));
    }
    setText(waiting.querySelector("strong"), this.#expected());
    show(waiting.querySelector("p"), !this.job && !this.sources.chosen);
  }

  /** What an empty stage waits for. */
  #expected() {
    if (this.job) return isActive(this.job) ? "The first picture is on its way" : "There is no picture";
    return this.sources.chosen ? "Ready: press Fit" : "Choose something to fit";
  }

  #preview(job) {
    const url = fileUrl(job, "preview.jpg");
    if (this.parts.preview.getAttribute("src") !== url) this.parts.preview.setAttribute("src", url);
  }

  #figures(job) {
    const metrics = { ...(job?.progress?.metrics ?? {}), ...(job?.result?.metrics ?? {}) };
    const step = job?.result?.steps ?? job?.progress?.step;
    const seconds = job?.result?.seconds ?? job?.progress?.seconds;
    numbers(this.parts.numbers, [
      [decibels(metrics.psnr), metrics.split === "test" ? "PSNR, unseen views" : "PSNR"],
      [step ? whole(step) : "", "steps"],
      [seconds ? duration(totalOf(seconds)) : "", "time"],
      [job?.result?.bytes ? bytes(job.result.bytes) : "", "file"],
      [job?.state === "done" ? job.parameters?.backend ?? job.result?.report?.backend : "", "representation"],
    ]);
  }

  /** The curve is asked for when the job has moved, once after its end. */
  async #curve(job) {
    const mark = job ? `${job.id} ${job.state} ${Math.floor(job.progress?.seconds ?? 0)}` : "";
    if (mark === this.curveMark) return;
    this.curveMark = mark;
    const points = job && job.kind !== "upload" ? (await get(`/api/jobs/${job.id}/curve`).catch(() => null))?.points ?? [] : [];
    if (mark !== this.curveMark) return;
    show(this.parts.curve, points.length > 1);
    if (points.length > 1) this.#draw(points);
  }

  #draw(points) {
    const scored = points.filter(([, , psnr]) => psnr != null).map(([seconds, , psnr]) => [seconds, psnr]);
    const lost = points.filter(([, loss]) => loss != null).map(([seconds, loss]) => [seconds, loss]);
    const series = scored.length > 1 ? [{ name: "PSNR while fitting", points: scored, unit: "dB" }] : [{ name: "Loss", points: lost, log: true }];
    if (this.curve) this.curve.setSeries(series);
    else this.curve = place(this.parts.curve, mountCurve, { series, x: "seconds" });
  }
}

const totalOf = (seconds) =>
  typeof seconds === "object" ? Object.values(seconds).reduce((sum, value) => sum + value, 0) : seconds;
