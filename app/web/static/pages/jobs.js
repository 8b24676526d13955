/** My jobs as the server knows them, asked again and again while something moves. */

import { get, post } from "./api.js";

const QUICK = 700;
const SLOW = 6000;
const AWAY = 15000;

export const isActive = (job) => job.state === "queued" || job.state === "running";

class Jobs {
  constructor() {
    this.list = [];
    this.used = 0; // bytes of all files
    this.known = false;
    this.listeners = new Set();
    this.failures = 0;
  }

  /** Call `listener(jobs)` after every answer; returns a function that stops it. */
  subscribe(listener) {
    this.listeners.add(listener);
    if (this.known) listener(this.list);
    return () => this.listeners.delete(listener);
  }

  start() {
    document.addEventListener("visibilitychange", () => !document.hidden && this.refresh());
    return this.refresh();
  }

  find(id) {
    return this.list.find((job) => job.id === id);
  }

  /** Finished fields: what can be looked at, converted and meshed. */
  fields() {
    return this.list.filter((job) => job.state === "done" && makesField(job));
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const { jobs: list, used } = await get("/api/jobs");
      Object.assign(this, { list, used });
      this.known = true;
      this.failures = 0;
      this.listeners.forEach((listener) => listener(this.list));
    } catch {
      this.failures += 1;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), this.#pause());
  }

  #pause() {
    if (document.hidden) return AWAY;
    if (this.failures) return Math.min(AWAY, QUICK * 2 ** this.failures);
    return this.list.some(isActive) ? QUICK : SLOW;
  }

  /** Queue a job; resolves to it. */
  async submit(kind, parameters, title) {
    const body = { kind, parameters, key: crypto.randomUUID() };
    const job = await post("/api/jobs", title ? { ...body, title } : body);
    await this.refresh();
    return this.find(job.id) ?? job;
  }

  /** cancel, resume, rename or delete. */
  async act(id, action, body = {}) {
    const job = await post(`/api/jobs/${id}/${action}`, body);
    await this.refresh();
    return job;
  }
}

export const makesField = (job) =>
  job.kind === "fit" || job.kind === "convert" || (job.kind === "upload" && job.result?.kind === "field");

export const jobs = new Jobs();
