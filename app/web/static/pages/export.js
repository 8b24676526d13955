/** Export: a field's surface as a mesh, looked at before it is taken. */

import { mount as mountMesh } from "../mesh_view.js";
import { download, fileUrl, hasFile } from "./api.js";
import { JobPanel } from "./job_panel.js";
import { jobs } from "./jobs.js";
import { Page } from "./page.js";
import { attempt, isValid, numbers, place, reveal, setText, show, showOnly, valuesOf } from "./parts.js";
import { Picks } from "./picks.js";
import { bytes, whole } from "./words.js";

export class ExportPage extends Page {
  constructor(name, root) {
    super(name, root);
    this.panel = new JobPanel(this.parts.job);
    this.crop = null;
    this.picks = new Picks(this.parts.picks, (field) => this.#chosen(field));
    const press = (part, action) => this.parts[part].addEventListener("click", () => action(this.parts[part]));
    press("mesh", (button) => attempt(button, () => this.#make()));
    press("download", () => this.#take());
    press("cropOn", () => this.#setCrop(inner(this.bounds)));
    press("cropOff", () => this.#setCrop(null));
    this.parts.settings.addEventListener("change", () => this.#textured());
    this.picks.update();
    this.#textured();
  }

  get kinds() {
    return ["mesh"];
  }

  #chosen(field) {
    if (this.field && field?.id !== this.field.id) this.#setCrop(null);
    this.field = field;
    this.parts.mesh.disabled = !field;
    setText(this.parts.chosen, field ? "" : "Choose a field first.");
  }

  /** A texture exists in GLB and OBJ only. */
  #textured() {
    const { format } = valuesOf(this.parts.settings);
    const texture = [...this.parts.settings.elements.color].find((radio) => radio.value === "texture");
    texture.disabled = !["glb", "obj"].includes(format);
    if (texture.disabled && texture.checked) this.parts.settings.elements.color.value = "vertex";
  }

  async #make() {
    if (!isValid(this.parts.settings)) return;
    const parameters = { ...valuesOf(this.parts.settings), field: this.field.id, crop: this.crop };
    this.follow(await jobs.submit("mesh", parameters));
    reveal(this.parts.stage);
  }

  #take() {
    const shown = this.job.files.filter((file) => file.name !== "preview.glb");
    if (shown.length > 1) download(`/api/jobs/${this.jobId}/archive`);
    else download(fileUrl(this.job, shown[0].name));
  }

  #setCrop(crop) {
    this.crop = crop;
    this.view?.setCrop(crop);
    this.#tellCrop();
  }

  #tellCrop() {
    show(this.parts.cropOn, !this.crop && Boolean(this.job?.result?.croppable));
    show(this.parts.cropOff, Boolean(this.crop));
    show(this.parts.crop, Boolean(this.crop));
    if (!this.crop) return;
    const size = this.crop[0].map((low, axis) => (this.crop[1][axis] - low).toPrecision(3));
    setText(this.parts.crop, `Only a box of ${size.join(" by ")} is meshed. Drag its handles, then make the mesh anew.`);
  }

  update() {
    const { job, parts } = this;
    this.picks.update(this.takeWanted());
    this.panel.update(job);
    const done = job?.state === "done";
    if (done) this.#load(job);
    showOnly([parts.viewer, parts.waiting], done || this.loaded ? parts.viewer : parts.waiting);
    show(parts.results, Boolean(done));
    this.#tellCrop();
    const result = done ? job.result : null;
    numbers(parts.numbers, result ? [
      [whole(result.faces), "faces"],
      [whole(result.vertices), "vertices"],
      [result.watertight ? "yes" : "no", "watertight"],
      [bytes(result.bytes), job.parameters.format.toUpperCase()],
    ] : []);
  }

  async #load(job) {
    if (this.loaded === job.id) return;
    this.loaded = job.id;
    show(this.parts.viewer, true);
    const url = fileUrl(job, hasFile(job, "preview.glb") ? "preview.glb" : "mesh.glb");
    if (!this.view) {
      this.view = place(this.parts.viewer, mountMesh, { up: "z" });
      this.view.on("crop", ({ crop }) => {
        this.crop = crop;
        this.#tellCrop();
      });
    }
    const mesh = await this.view.load(url);
    if (mesh) this.bounds = mesh.bounds;
    this.view.setCrop(this.crop);
  }
}

/** The middle of a box, four fifths as large. */
const inner = ([low, high]) => [
  low.map((value, axis) => value + 0.1 * (high[axis] - value)),
  high.map((value, axis) => value - 0.1 * (value - low[axis])),
];
