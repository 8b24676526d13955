/** Convert: a field teaches another; both are shown under one camera, with a slider between them. */

import { mount as mountCurve } from "../curve.js";
import { download, fileUrl, get, hasFile } from "./api.js";
import { JobPanel } from "./job_panel.js";
import { isActive, jobs } from "./jobs.js";
import { Looker } from "./looker.js";
import { go, Page } from "./page.js";
import { attempt, isValid, numbers, place, reveal, setText, show, showOnly, valuesOf } from "./parts.js";
import { Picks } from "./picks.js";
import { bytes, decibels, duration } from "./words.js";

export class ConvertPage extends Page {
  constructor(name, root) {
    super(name, root);
    this.panel = new JobPanel(this.parts.job);
    this.looker = new Looker(this.parts.viewer);
    this.picks = new Picks(this.parts.picks, (field) => this.#chosen(field));
    const press = (part, action) => this.parts[part].addEventListener("click", () => action(this.parts[part]));
    press("convert", (button) => attempt(button, () => this.#convert()));
    press("download", () => download(fileUrl(this.job, "field.safetensors")));
    press("report", () => download(fileUrl(this.job, "report.html")));
    press("toExport", () => go("export", this.jobId));
    const meeting = this.parts.pair.querySelector("input");
    meeting.addEventListener("input", () => this.parts.pair.style.setProperty("--meet", `${meeting.value}%`));
    this.picks.update();
  }

  get kinds() {
    return ["convert"];
  }

  leave() {
    super.leave();
    this.looker.rest();
  }

  #chosen(field) {
    this.field = field;
    this.parts.convert.disabled = !field;
    setText(this.parts.chosen, field ? `${field.title} stays as it is.` : "Choose a field first.");
  }

  async #convert() {
    if (!isValid(this.parts.settings)) return;
    const { backend, seconds, preset, kind, megabytes, psnr, seed } = valuesOf(this.parts.settings);
    const parameters = {
      field: this.field.id, backend, preset, kind, seconds: Number(seconds), seed: seed ?? 0, psnr,
      max_bytes: megabytes == null ? null : Math.round(megabytes * 1e6),
    };
    this.follow(await jobs.submit("convert", parameters));
    reveal(this.parts.stage);
  }

  update() {
    const { job, parts } = this;
    this.picks.update(this.takeWanted());
    this.panel.update(job);
    const done = job?.state === "done";
    const pictures = !done && hasFile(job, "teacher.jpg") && hasFile(job, "preview.jpg");
    const shown = done ? parts.viewer : pictures ? parts.pair : parts.waiting;
    showOnly([parts.viewer, parts.pair, parts.waiting], shown);
    setText(parts.waiting.querySelector("strong"), expected(job));
    show(parts.waiting.querySelector("p"), !job);
    if (pictures) this.#pictures(job);
    if (done) this.looker.look(this.#both(job));
    else this.looker.rest();
    show(parts.results, Boolean(done));
    this.#figures(job);
    this.#curve(job);
  }

  #both(job) {
    const teacher = jobs.find(job.parameters.field);
    const student = { id: job.id, label: `New: ${job.parameters.backend}` };
    return teacher ? [{ id: teacher.id, label: "Original" }, student] : [student];
  }

  #pictures(job) {
    for (const [part, name] of [["before", "teacher.jpg"], ["after", "preview.jpg"]]) {
      const url = fileUrl(job, name);
      if (this.parts[part].getAttribute("src") !== url) this.parts[part].setAttribute("src", url);
    }
  }

  #figures(job) {
    const report = job?.result;
    const seconds = report?.seconds ? Object.values(report.seconds).reduce((sum, value) => sum + value, 0) : null;
    numbers(this.parts.numbers, report ? [
      [decibels(report.vs_teacher?.psnr), "to the original"],
      [report.vs_teacher?.ssim?.toFixed(3) ?? "", "SSIM"],
      [decibels(report.vs_photos?.student_psnr), "to the photos"],
      [report.bytes ? bytes(report.bytes) : "", "file"],
      [report.ms_per_frame ? `${report.ms_per_frame.toFixed(0)} ms` : "", "a picture"],
      [duration(seconds), "time"],
    ] : []);
  }

  async #curve(job) {
    const mark = job ? `${job.id} ${job.state} ${Math.floor(job.progress?.seconds ?? 0)}` : "";
    if (mark === this.curveMark) return;
    this.curveMark = mark;
    const points = job ? (await get(`/api/jobs/${job.id}/curve`).catch(() => null))?.points ?? [] : [];
    if (mark !== this.curveMark) return;
    const lost = points.filter(([, loss]) => loss != null).map(([seconds, loss]) => [seconds, loss]);
    show(this.parts.curve, lost.length > 1);
    if (lost.length < 2) return;
    const series = [{ name: "Loss", points: lost, log: true }];
    if (this.curve) this.curve.setSeries(series);
    else this.curve = place(this.parts.curve, mountCurve, { series, x: "seconds" });
  }
}

/** What an empty stage waits for. */
const expected = (job) => {
  if (!job) return "Two views under one camera";
  return isActive(job) ? "The first pictures are on their way" : "There are no pictures";
};
