/** Library: cards of everything I made; open, rename, download, delete. */

import { element } from "../dom.js";
import { download, fileUrl, get, hasFile } from "./api.js";
import { told } from "./job_panel.js";
import { isActive, jobs } from "./jobs.js";
import { Page } from "./page.js";
import { attempt, setText, show } from "./parts.js";
import { pageOf } from "./places.js";
import { ago, bytes, kindName, stateName } from "./words.js";

const STEPS = ["extend", "redo", "undo"]; // of a world, which has one card
const GROUPS = {
  worlds: ["generate"], fields: ["fit", "convert"], meshes: ["mesh", "render", "world_mesh"], uploads: ["upload"],
};
const FILM = "film.mp4";
const PICTURES = ["preview.jpg", "preview.png", "plan.png"];

export class LibraryPage extends Page {
  constructor(name, root) {
    super(name, root);
    this.cards = new Map();
    this.show = "all";
    show(this.parts.waiting, false); // until it is known that there is nothing
    this.parts.filter.addEventListener("change", (event) => {
      this.show = event.target.value;
      this.update();
    });
    this.parts.dialog.addEventListener("close", () => this.#answered(this.parts.dialog.returnValue === "yes"));
    get("/api/choices").then(({ limits }) => {
      this.quota = limits?.quota;
      this.update();
    }).catch(() => {});
  }

  update() {
    if (!jobs.known) return;
    const plans = new Set(jobs.list.map((job) => job.parameters?.plan)); // they belong to their worlds
    const all = jobs.list.filter((job) => !STEPS.includes(job.kind) && !plans.has(job.id));
    const shown = all.filter((job) => this.show === "all" || GROUPS[this.show].includes(job.kind));
    show(this.parts.waiting, shown.length === 0);
    setText(this.parts.waiting.querySelector("strong"), all.length ? "Nothing of this kind" : "Nothing here yet");
    setText(this.parts.room, `${bytes(jobs.used)}${this.quota ? ` of ${bytes(this.quota)}` : ""} used`);
    this.#cards(shown);
  }

  #cards(shown) {
    const ids = new Set(shown.map((job) => job.id));
    for (const [id, card] of this.cards)
      if (!ids.has(id)) {
        card.node.remove();
        this.cards.delete(id);
      }
    for (const job of shown) this.#card(job);
    const wanted = shown.map((job) => this.cards.get(job.id).node);
    const now = [...this.parts.grid.children];
    if (wanted.some((node, index) => node !== now[index])) this.parts.grid.replaceChildren(...wanted);
  }

  /** A card is drawn anew only when something on it has changed, and its words as time goes by. */
  #card(job) {
    const mark = JSON.stringify([job.title, job.state, job.files, job.progress?.fraction, job.position]);
    const when = ago(job.created);
    const card = this.cards.get(job.id) ?? { node: element("article", { class: "fs-card fp-item", "data-id": job.id }) };
    this.cards.set(job.id, card);
    if (card.mark !== mark) card.node.replaceChildren(picture(job), this.#text(job), this.#actions(job));
    else if (card.when !== when) card.node.querySelector(".fp-item-text").replaceWith(this.#text(job));
    Object.assign(card, { mark, when });
  }

  #text(job) {
    const state = isActive(job) || job.state === "done" ? "" : stateName(job.state);
    const sort = job.parameters?.backend ?? job.parameters?.format?.toUpperCase();
    const detail = [kindName(job.kind), sort, state, bytes(job.bytes), ago(job.created)];
    const text = element("div", { class: "fp-item-text" },
      element("strong", { title: job.title }, job.title), element("small", {}, detail.filter(Boolean).join(" · ")));
    if (isActive(job) || job.state === "failed") {
      const { title, detail: words } = told(job);
      text.append(element("small", { class: job.state === "failed" ? "fp-bad-text" : "fp-now-text" }, [title, words].filter(Boolean).join(": ")));
    }
    return text;
  }

  #actions(job) {
    const action = (words, press) => {
      const button = element("button", { type: "button", class: "fs-button fs-quiet" }, words);
      button.addEventListener("click", () => attempt(button, press));
      return button;
    };
    const open = pageOf(job) === "library" ? null : action("Open", () => (location.hash = pageOf(job)));
    const stop = isActive(job) ? action("Stop", () => jobs.act(job.id, "cancel")) : null;
    const again = !isActive(job) && job.state !== "done" ? action(job.resumable ? "Go on" : "Try again", () => jobs.act(job.id, "resume")) : null;
    const take = job.files.length && !job.result?.unpacked ? action("Download", () => takeFiles(job)) : null;
    const rename = action("Rename", () => this.#ask(job, "Rename", "", job.title));
    const remove = isActive(job) ? null : action("Delete", () => this.#ask(job, "Delete", `“${job.title}” and its files are removed for good.`));
    return element("div", { class: "fp-item-actions" }, [open, stop, again, take, rename, remove].filter(Boolean));
  }

  #ask(job, verb, words, name = null) {
    this.asked = { job, verb };
    const { dialog, question, words: line, name: input, yes } = this.parts;
    setText(question, verb === "Delete" ? "Delete this?" : "A new name");
    setText(line, words);
    show(line, words !== "");
    show(input, name !== null);
    input.value = name ?? "";
    setText(yes, verb);
    yes.classList.toggle("fs-danger", verb === "Delete");
    dialog.returnValue = "";
    dialog.showModal();
    if (name !== null) input.select();
  }

  #answered(yes) {
    if (!yes) return;
    const { job, verb } = this.asked;
    const title = this.parts.name.value.trim();
    if (verb === "Delete") attempt(null, () => jobs.act(job.id, "delete"));
    else if (title) attempt(null, () => jobs.act(job.id, "rename", { title }));
  }
}

/** One file as it is, several as a zip. */
function takeFiles(job) {
  download(job.files.length === 1 && job.kind !== "generate" ? fileUrl(job, job.files[0].name) : `/api/jobs/${job.id}/archive`);
}

/** A job's own picture, or that of what it was made from. */
function pictureOf(job) {
  const source = jobs.find(job.parameters?.field ?? job.parameters?.scene);
  for (const owner of [job, source]) {
    const name = PICTURES.find((entry) => hasFile(owner, entry));
    if (name) return element("img", { src: fileUrl(owner, name), alt: "", loading: "lazy" });
  }
  return element("span", { class: "fp-blank" }, kindName(job.kind));
}

function picture(job) {
  const share = 100 * (job.progress?.fraction ?? 0);
  if (hasFile(job, FILM) && job.state === "done")
    return element("div", { class: "fp-item-picture" }, element("video", { src: fileUrl(job, FILM), controls: "", loop: "", preload: "metadata" }));
  const bar = isActive(job) ? element("div", { class: "fp-progress" }, element("i", { style: `width:${share}%` })) : null;
  return element("div", { class: "fp-item-picture" }, pictureOf(job), bar);
}
