/** What a field is fitted to: the sample, photos or a mesh, sent and looked over before anything starts. */

import { element } from "../dom.js";
import { fileUrl, hasFile, upload } from "./api.js";
import { acceptDrops, chooseFiles } from "./drop.js";
import { jobs } from "./jobs.js";
import { setText, show } from "./parts.js";
import { bytes, whole } from "./words.js";

const DIALOGS = {
  photos: { accept: ".zip" },
  folder: { folder: true },
  mesh: { accept: ".glb,.gltf,.obj,.ply,.stl,.off,.zip" },
};
const SAMPLE = {
  id: "sample",
  title: "The sample",
  result: { kind: "capture", report: { lines: ["A still life on a chess board: 72 photos of 160 × 160 pixels with exact poses."] } },
};

export class Sources {
  /** `page` has parts drop, upload, report and tiles; `changed(source)` is told what was chosen. */
  constructor(page, changed) {
    this.parts = page.parts;
    this.changed = changed;
    this.chosen = null;
    this.tiles = [...page.root.querySelectorAll("[data-source]")];
    for (const tile of this.tiles) tile.addEventListener("click", () => this.#press(tile.dataset.source));
    this.parts.drop.addEventListener("click", () => this.#press("photos"));
    acceptDrops(this.parts.source, (files) => this.send(files));
  }

  async #press(kind) {
    if (kind === "sample") return this.choose(SAMPLE);
    const files = await chooseFiles(DIALOGS[kind]);
    return files.length ? this.send(files) : undefined;
  }

  /** Send files and choose what the server made of them. */
  async send(files) {
    const total = files.reduce((sum, { file }) => sum + file.size, 0);
    const name = files.length === 1 ? files[0].name : files[0].name.split("/")[0];
    this.#sending(`Sending ${name}, ${bytes(total)}`);
    try {
      const job = await upload(files, (share) =>
        this.#sending(share < 1 ? `Sending ${name}, ${Math.round(100 * share)} %` : `Looking over ${name}`, share));
      await jobs.refresh();
      this.choose(job);
    } catch (error) {
      this.#refused(name, error.message);
    }
    show(this.parts.upload, false);
  }

  choose(source) {
    this.chosen = source;
    this.#open(false);
    this.#report(source);
    this.changed(source);
  }

  /** Whether there is a choice to make: tiles and the place to drop things. */
  #open(visible) {
    show(this.parts.tiles, visible);
    show(this.parts.drop, visible);
  }

  #sending(words, share = 0) {
    show(this.parts.upload, true);
    show(this.parts.report, false);
    if (!this.words) {
      this.words = element("span");
      this.bar = element("i");
      this.parts.upload.replaceChildren(this.words, element("div", { class: "fp-progress" }, this.bar));
    }
    setText(this.words, words);
    this.bar.style.width = `${100 * share}%`;
  }

  #refused(name, message) {
    this.#other();
    show(this.parts.report, true);
    this.parts.report.replaceChildren(
      element("div", { class: "fp-verdict fp-bad" }, element("strong", {}, `${name} cannot be used`), element("p", {}, message)),
    );
  }

  #report(source) {
    const report = source.result?.report ?? {};
    const warnings = report.warnings ?? [];
    const change = element("button", { type: "button", class: "fs-button fs-quiet", onclick: () => this.#other() }, "Change");
    const picture = hasFile(source, "preview.jpg") ? element("img", { src: fileUrl(source, "preview.jpg"), alt: "" }) : null;
    show(this.parts.report, true);
    this.parts.report.replaceChildren(
      element("div", { class: warnings.length ? "fp-verdict fp-warn" : "fp-verdict" },
        element("strong", {}, warnings.length ? `${source.title} can be used` : `${source.title} is ready`),
        linesOf(source, report).map((line) => element("p", {}, line)),
        notesOf(report),
        warnings.map((line) => element("p", { class: "fp-warning" }, line)),
        element("div", { class: "fp-verdict-end" }, picture, change)),
    );
  }

  #other() {
    show(this.parts.report, false);
    this.#open(true);
    this.chosen = null;
    this.changed(null);
  }
}

/** What the server found in a source, in sentences. */
function linesOf({ result }, report) {
  if (report.lines) return report.lines;
  if (result?.kind === "mesh") {
    const size = report.size?.map((side) => side.toPrecision(3)).join(" by ");
    const counts = `${whole(report.vertices)} vertices, ${whole(report.faces)} faces`;
    return [`${counts}, ${report.watertight ? "watertight" : "not watertight, which is fine"}.`, size && `${size} units large.`].filter(Boolean);
  }
  if (result?.kind !== "capture") return ["This is neither photos nor a mesh."];
  const [width, height] = report.size;
  return [`${whole(report.images)} photos of ${width} × ${height} pixels, in the layout ${report.layout}.`];
}

/** What else was found, for those who look. */
function notesOf({ notes = [] }) {
  if (!notes.length) return null;
  return element("details", { class: "fp-more fp-notes" }, element("summary", {}, "Details"), notes.map((line) => element("p", {}, line)));
}
