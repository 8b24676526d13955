/** Worlds: paint a plan, watch the world grow, click where it shall go on. */

import { mount as mountPainter } from "../plan_painter.js";
import { mount as mountWorld } from "../world_view.js";
import { save } from "../dom.js";
import { download, fileUrl, get, post, upload } from "./api.js";
import { JobPanel } from "./job_panel.js";
import { isActive, jobs } from "./jobs.js";
import { Page } from "./page.js";
import { attempt, fillForm, isValid, place, reveal, setText, show, toast, valuesOf } from "./parts.js";

const OF_SCENE = ["generate", "extend", "redo", "undo", "world_mesh"];
const START = { width: 9.6, height: 7.2 };
const SCALE = 0.1;

export class WorldsPage extends Page {
  constructor(name, root) {
    super(name, root);
    const { palette, legend } = JSON.parse(this.parts.palette.dataset.value);
    this.panel = new JobPanel(this.parts.job);
    this.painter = place(this.parts.painter, mountPainter, { palette, legend, ...START, metresPerPixel: SCALE, name: "plan" });
    this.revision = "";
    this.#wire();
  }

  get kinds() {
    return ["generate"];
  }

  #wire() {
    const press = (part, action) =>
      this.parts[part].addEventListener("click", () => attempt(this.parts[part], () => action.call(this)));
    press("furnish", this.#furnish);
    press("new", this.#new);
    press("generate", this.#generate);
    press("mesh", this.#mesh);
    press("archive", () => download(`/api/jobs/${this.jobId}/archive`));
    press("picture", async () => save(await this.world.picture(), "world.png"));
    press("undo", () => this.#act("undo", {}));
    for (const button of this.root.querySelectorAll("[data-example]"))
      button.addEventListener("click", () => this.#example(button));
  }

  #example(button) {
    const { example, width, height } = button.dataset;
    this.painter.set({ width: Number(width), height: Number(height), indices: example, metresPerPixel: SCALE });
  }

  async #furnish() {
    const { width, height } = this.painter.value();
    const seed = Math.floor(Math.random() * 2 ** 31);
    const plan = await post("/api/furnish", { width, height, indices: this.painter.base64(), seed });
    this.painter.set(plan);
  }

  #new() {
    this.painter.clear();
    this.follow(null);
  }

  async #generate() {
    if (!isValid(this.parts.settings)) return;
    if (this.painter.value().indices.every((index) => index === 0)) await this.#furnish();
    const picture = new File([await this.painter.toPng()], "plan.png", { type: "image/png" });
    const plan = await upload([{ file: picture, name: "plan.png" }]);
    const { model, seed, quality, steps, resamples } = valuesOf(this.parts.settings);
    const parameters = { plan: plan.id, model, seed: seed ?? 0, quality, ...given({ steps, resamples }) };
    const job = await jobs.submit("generate", parameters, this.#title());
    this.planOf = job.id;
    this.follow(job);
    reveal(this.parts.scene);
  }

  #title() {
    const { width, height, metresPerPixel } = this.painter.value();
    return `World of ${(width * metresPerPixel).toFixed(1)} by ${(height * metresPerPixel).toFixed(1)} m`;
  }

  /** Grow, redo or undo in the scene that is shown. */
  async #act(kind, parameters) {
    await jobs.submit(kind, { scene: this.jobId, ...parameters });
  }

  async #mesh() {
    const made = this.#latest((job) => job.kind === "world_mesh" && job.state === "done");
    const changed = this.#latest((job) => OF_SCENE.includes(job.kind) && job.kind !== "world_mesh");
    const name = made?.files.find((file) => file.name.endsWith(".glb"))?.name;
    if (name && made.created > changed.created) return download(fileUrl(made, name));
    this.wanted = (await jobs.submit("world_mesh", { scene: this.jobId })).id;
    toast("The model is being put together. The download starts when it is ready.");
    return undefined;
  }

  /** Jobs of the scene that is shown, the newest first. */
  #ofScene() {
    return jobs.list.filter((job) => job.id === this.jobId || (OF_SCENE.includes(job.kind) && job.parameters?.scene === this.jobId));
  }

  #latest(test) {
    return this.#ofScene().find(test);
  }

  update() {
    this.#turn();
    const active = this.#ofScene().findLast(isActive);
    const shown = active ?? (this.job?.state === "done" ? this.#failed() : this.job);
    this.panel.update(shown ?? null);
    this.#handOver();
    this.#waiting(shown);
    if (this.jobId) this.#scene(Boolean(active));
    else show(this.parts.downloads, false);
  }

  /** Nothing of another scene stays in sight: its blocks could pass for those of this one. */
  #turn() {
    if (this.sceneOf === this.jobId) return;
    this.sceneOf = this.jobId;
    this.revision = "";
    this.world?.clear();
    this.painter.setBlocks([]);
    if (!this.jobId) this.planOf = null;
  }

  #waiting(job) {
    const { waiting } = this.parts;
    show(waiting, !this.jobId || !this.world);
    setText(waiting.querySelector("strong"), expected(job));
    show(waiting.querySelector("p"), !this.jobId);
  }

  /** The newest action on the scene, if it did not work. */
  #failed() {
    const newest = this.#ofScene()[0];
    return newest && newest.state === "failed" ? newest : null;
  }

  /** A model that was asked for is sent as soon as it is there. */
  #handOver() {
    const made = this.wanted && jobs.find(this.wanted);
    if (!made || isActive(made)) return;
    this.wanted = null;
    const file = made.files.find((entry) => entry.name.endsWith(".glb"));
    if (file) download(fileUrl(made, file.name));
  }

  async #scene(moving) {
    const id = this.jobId;
    const mark = `${id} ${this.#ofScene().map((job) => `${job.state}${job.progress?.step ?? ""}`)}`;
    if (mark === this.revision || this.asking) return;
    this.asking = true;
    const scene = await get(`/api/scenes/${id}`).catch(() => null);
    this.asking = false;
    if (!scene || id !== this.jobId) return;
    this.revision = mark;
    this.#show(scene, moving);
  }

  #show(scene, moving) {
    this.#mount(scene.frame);
    if (!this.world) return;
    const id = this.jobId;
    const busy = scene.busy ?? [];
    const planned = scene.planned ?? [];
    this.world.sync({ blocks: scene.blocks, busy, planned }, (i, k, revision) => `/files/${id}/blocks/${i}_${k}.bin?v=${revision}`);
    const state = (list, name) => list.map(({ i, k }) => ({ i, k, state: name }));
    this.painter.setBlocks([...state(planned, "planned"), ...state(busy, "busy"), ...state(scene.blocks, "done")]);
    show(this.parts.downloads, scene.blocks.length > 0 && !moving);
    const changed = this.#changes() > 0;
    show(this.parts.undo, changed);
    this.world.update({ undoable: changed ? null : [] });
    this.#plan(scene);
  }

  /** How many growths and new blocks can be taken back. */
  #changes() {
    const done = (...kinds) => this.#ofScene().filter((job) => kinds.includes(job.kind) && job.state === "done").length;
    return done("extend", "redo") - done("undo");
  }

  /** A scene opened from the library brings its plan along. */
  #plan(scene) {
    if (this.planOf === this.jobId) return;
    this.planOf = this.jobId;
    if (this.job?.parameters) fillForm(this.parts.settings, this.job.parameters);
    if (scene.plan?.indices) this.painter.set(scene.plan);
  }

  #mount(frame) {
    if (frame) this.painter.update({ frame });
    if (this.world || !frame) return;
    this.world = place(this.parts.world, mountWorld, { frame, name: "world" });
    show(this.parts.waiting, false);
    this.world.on("grow", ({ i, k }) => attempt(null, () => this.#act("extend", { block: [i, k] })));
    this.world.on("undo", () => attempt(null, () => this.#act("undo", {})));
    this.world.on("redo", ({ i, k }) => {
      const seed = Math.floor(Math.random() * 2 ** 31);
      return attempt(null, () => this.#act("redo", { block: [i, k], seed }));
    });
  }
}

/** What an empty stage waits for. */
const expected = (job) => {
  if (!job) return "Your world appears here";
  return isActive(job) ? "The first block is on its way" : job.state === "done" ? "Opening the world" : "There are no blocks";
};

/** Only what somebody filled in. */
const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value != null));
