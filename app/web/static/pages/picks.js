/** A list of my finished fields, one of them chosen; a field file dropped on it joins them. */

import { element } from "../dom.js";
import { fileUrl, hasFile, upload } from "./api.js";
import { acceptDrops, chooseFiles } from "./drop.js";
import { jobs } from "./jobs.js";
import { attempt } from "./parts.js";
import { bytes } from "./words.js";

export class Picks {
  /** Fill `node`; `changed(job)` is told what was chosen. */
  constructor(node, changed) {
    this.node = node;
    this.changed = changed;
    this.chosen = null;
    acceptDrops(node, (files) => attempt(null, () => this.#send(files)));
  }

  /** Draw what there is; a field given by its id is chosen. */
  update(wanted = null) {
    const fields = jobs.fields();
    if (wanted && fields.some((job) => job.id === wanted)) this.chosen = wanted;
    if (!fields.some((job) => job.id === this.chosen)) this.chosen = fields[0]?.id ?? null;
    const mark = `${this.chosen} ${fields.map((job) => `${job.id}${job.title}${job.bytes}`)}`;
    if (mark === this.mark) return;
    this.mark = mark;
    this.node.replaceChildren(...(fields.length ? [...fields.map((job) => this.#entry(job)), this.#adder()] : [this.#none()]));
    this.changed(jobs.find(this.chosen) ?? null);
  }

  #entry(job) {
    const picture = hasFile(job, "preview.jpg")
      ? element("img", { src: fileUrl(job, "preview.jpg"), alt: "" })
      : element("span", { class: "fp-blank" });
    const detail = [job.result?.report?.backend ?? job.parameters?.backend, bytes(job.bytes)].filter(Boolean).join(", ");
    const button = element("button", { type: "button", class: "fp-pick", "aria-pressed": String(job.id === this.chosen) },
      picture, element("span", {}, element("strong", {}, job.title), element("small", {}, detail)));
    button.addEventListener("click", () => {
      this.chosen = job.id;
      this.update();
    });
    return button;
  }

  #none() {
    const link = element("a", { class: "fs-button", href: "#fields", "data-link": "fields" }, "Go to Fields");
    return element("div", { class: "fp-none" }, element("p", {}, this.node.dataset.empty), link, this.#adder());
  }

  #adder() {
    const button = element("button", { type: "button", class: "fs-button fs-quiet" }, "Open a field file");
    button.addEventListener("click", () => attempt(button, async () => {
      const files = await chooseFiles({ accept: ".safetensors,.zip" });
      if (files.length) await this.#send(files);
    }));
    return button;
  }

  async #send(files) {
    const job = await upload(files);
    await jobs.refresh();
    if (job.result?.kind !== "field") throw new Error("This is not a field. A field file ends in .safetensors.");
    this.update(job.id);
  }
}
