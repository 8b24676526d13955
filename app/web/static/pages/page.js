/** What the pages share: their parts, the job they show, and where they stand in the address. */

import { isActive, jobs } from "./jobs.js";
import { partsOf, reveal } from "./parts.js";

export class Page {
  /** `name` as in the navigation; `root` the page's element. */
  constructor(name, root) {
    this.name = name;
    this.root = root;
    this.parts = partsOf(root);
    this.visible = false;
    this.jobId = null;
    this.untouched = true;
    jobs.subscribe(() => {
      if (!this.visible) return;
      this.#settle();
      this.update();
    });
  }

  /** Kinds of jobs that are watched here. */
  get kinds() {
    return [];
  }

  /** Whether a job from the address is shown here, not only used. */
  shows(job) {
    return this.kinds.includes(job.kind);
  }

  get job() {
    return this.jobId ? jobs.find(this.jobId) ?? null : null;
  }

  /** The page comes into sight, perhaps with a job from the address. */
  enter(id) {
    this.visible = true;
    if (id) this.asked = id;
    this.#settle();
    this.update();
  }

  /** What the address asks for becomes the job shown, or `wanted`; without it, a job that is under way is shown. */
  #settle() {
    if (!jobs.known) return;
    const asked = jobs.find(this.asked);
    if (this.asked) {
      const shown = asked && this.shows(asked);
      this.wanted = shown ? null : asked?.id ?? null;
      this.asked = null;
      this.follow(shown ? asked : null);
      const stage = this.parts.stage ?? this.parts.scene;
      if (shown && stage) reveal(stage);
    } else if (this.untouched && !this.jobId) {
      const active = jobs.list.find((job) => this.kinds.includes(job.kind) && isActive(job));
      if (active) this.follow(active);
    }
  }

  /** The field to choose in a list, told once: what the address named, or what the job shown was made from. */
  takeWanted() {
    const wanted = this.wanted ?? (this.told === this.jobId ? null : this.job?.parameters?.field);
    this.wanted = null;
    this.told = this.jobId;
    return wanted;
  }

  leave() {
    this.visible = false;
  }

  /** Show another job, and say so in the address. */
  follow(job) {
    this.untouched = false;
    this.jobId = job?.id ?? null;
    const hash = this.jobId ? `#${this.name}/${this.jobId}` : `#${this.name}`;
    if (location.hash !== hash) history.replaceState(null, "", hash);
    this.update();
  }

  /** For subclasses: jobs may have changed. */
  update() {}
}

/** Open a page of the app. */
export function go(page, id = "") {
  location.hash = id ? `#${page}/${id}` : `#${page}`;
}
