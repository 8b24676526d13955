/** Where a job is: a bar, words, the time left, and buttons to stop it or go on. */

import { element } from "../dom.js";
import { sentence } from "../sentence.js";
import { isActive, jobs } from "./jobs.js";
import { attempt, setText, show } from "./parts.js";
import { duration, whole } from "./words.js";

const PHASES = {
  reading: "Reading", fit: "Fitting", features: "Learning features", values: "Learning values", pixels: "Learning pixels",
  extract: "Finding the surface", writing: "Writing", render: "Rendering", mesh: "Meshing", simplify: "Simplifying", color: "Colouring", preview: "Drawing a picture", generate: "Making blocks", extend: "Growing",
  redo: "Making the block anew", compare: "Comparing",
};

export class JobPanel {
  /** Fill `node`; words: {stop, stopped(job)} in place of the usual ones. */
  constructor(node, words = {}) {
    this.node = node;
    this.words = { stop: "Stop", ...words };
    this.bar = element("div", { class: "fp-progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 },
      element("i"));
    this.title = element("strong");
    this.detail = element("span");
    this.stop = this.#button(this.words.stop, "cancel");
    this.resume = this.#button("Go on", "resume");
    const line = element("div", { class: "fp-job-line" }, element("div", {}, this.title, this.detail), this.stop, this.resume);
    node.replaceChildren(line, this.bar);
  }

  #button(words, action) {
    const button = element("button", { type: "button", class: "fs-button" }, words);
    button.addEventListener("click", () => attempt(button, () => jobs.act(this.job.id, action)));
    return button;
  }

  /** Show a job, or nothing for null; a job that is done needs no panel. */
  update(job) {
    this.job = job;
    show(this.node, Boolean(job) && job.state !== "done");
    if (!job) return;
    const { title, detail } = told(job);
    this.node.dataset.state = job.state;
    setText(this.title, title);
    setText(this.detail, detail);
    show(this.bar, isActive(job));
    show(this.stop, isActive(job));
    show(this.resume, !isActive(job) && job.state !== "done");
    setText(this.resume, job.resumable ? "Go on" : "Try again");
    this.#fill(job);
  }

  #fill(job) {
    const share = job.progress?.fraction ?? 0;
    const unknown = job.state === "queued" || share <= 0;
    this.bar.classList.toggle("fp-unknown", unknown);
    this.bar.firstChild.style.width = `${(100 * share).toFixed(1)}%`;
    this.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
  }
}

/** A job's state as a title and a detail. */
export function told(job) {
  if (job.state === "queued") return { title: "Waiting", detail: waiting(job) };
  if (job.state === "running") return { title: phase(job), detail: moving(job) };
  if (job.state === "failed") return { title: "This did not work", detail: sentence(job.error) };
  if (job.state === "interrupted") return { title: "Interrupted", detail: "The server was restarted. It can go on from where it was." };
  if (job.state === "cancelled") return { title: "Stopped", detail: stopped(job) };
  return { title: "Done", detail: "" };
}

function waiting(job) {
  const place = job.position > 1 ? `${job.position - 1} before it` : "next in line";
  return job.eta ? `${place}, done in about ${duration(job.eta)}` : place;
}

const phase = (job) => {
  const name = job.progress?.phase ?? "";
  return PHASES[name] ?? (name ? name.charAt(0).toUpperCase() + name.slice(1) : "Starting");
};

function moving({ progress, eta }) {
  if (!progress?.step && !progress?.total) return "";
  const left = progress.remaining || eta;
  const steps = progress.total ? `${whole(progress.step)} of ${whole(progress.total)}` : `step ${whole(progress.step)}`;
  return left ? `${steps}, about ${duration(left)} left` : steps;
}

const stopped = (job) =>
  job.resumable ? "What was reached is kept. It can go on from there." : "It can be started again.";
