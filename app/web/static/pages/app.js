/** Wakes the pages once gradio has put them there: navigation, theme, and the chip that tells what runs. */

import { element } from "../dom.js";
import { ConvertPage } from "./convert.js";
import { ExportPage } from "./export.js";
import { FieldsPage } from "./fields.js";
import { isActive, jobs } from "./jobs.js";
import { LibraryPage } from "./library.js";
import { Page } from "./page.js";
import { pageOf } from "./places.js";
import { setText, show } from "./parts.js";
import { WorldsPage } from "./worlds.js";

const PAGES = {
  worlds: WorldsPage, fields: FieldsPage, convert: ConvertPage, export: ExportPage, library: LibraryPage, benchmarks: Page,
};
const THEME = "fieldscape-theme";

class App {
  constructor() {
    this.pages = new Map();
    this.header = document.querySelector("#fp-header");
    this.now = this.header.querySelector("[data-part=now]");
    this.#theme();
    document.addEventListener("click", (event) => this.#follow(event), true);
    document.addEventListener("click", rollDice);
    document.addEventListener("input", showSliders);
    document.addEventListener("submit", (event) => event.target.matches("form:not([method=dialog])") && event.preventDefault());
    window.addEventListener("hashchange", () => this.#open());
    jobs.subscribe((list) => this.#tell(list));
    this.#open();
    jobs.start();
  }

  /** Links of the app change the address only; gradio would open them elsewhere. */
  #follow(event) {
    const link = event.target.closest?.("a[data-link]");
    if (!link) return;
    event.preventDefault();
    event.stopPropagation();
    if (location.hash === `#${link.dataset.link}`) window.scrollTo({ top: 0 });
    else location.hash = link.dataset.link;
  }

  #open() {
    const [wanted, id] = location.hash.slice(1).split("/");
    const name = wanted in PAGES ? wanted : "worlds";
    for (const root of document.querySelectorAll("[data-page]")) show(root, root.dataset.page === name);
    for (const link of this.header.querySelectorAll(".fp-nav a"))
      link.toggleAttribute("aria-current", link.dataset.link === name);
    for (const [other, page] of this.pages) if (other !== name && page.visible) page.leave();
    if (this.last !== name) window.scrollTo({ top: 0 });
    this.#page(name).enter(id);
    document.title = `${name.charAt(0).toUpperCase()}${name.slice(1)} · Fieldscape`;
    this.last = name;
  }

  #page(name) {
    if (!this.pages.has(name)) {
      const root = document.querySelector(`[data-page="${name}"]`);
      this.pages.set(name, new PAGES[name](name, root));
    }
    return this.pages.get(name);
  }

  #tell(list) {
    const job = list.find((entry) => entry.state === "running") ?? list.find(isActive);
    show(this.now, Boolean(job));
    if (!job) return;
    if (!this.now.firstChild)
      this.now.replaceChildren(element("a", { class: "fs-chip", "data-link": "" }, element("i"), element("span")));
    this.now.firstChild.href = `#${pageOf(job)}`;
    const share = job.progress?.fraction ? ` ${Math.round(100 * job.progress.fraction)} %` : "";
    this.now.firstChild.dataset.link = pageOf(job);
    setText(this.now.querySelector("span"), `${job.title}${share}`);
  }

  #theme() {
    const kept = localStorage.getItem(THEME);
    if (kept) setTheme(kept === "dark");
    const button = this.header.querySelector("[data-part=theme]");
    button.addEventListener("click", () => {
      const dark = !document.body.classList.contains("dark");
      setTheme(dark);
      localStorage.setItem(THEME, dark ? "dark" : "light");
    });
  }
}

function setTheme(dark) {
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

function rollDice(event) {
  const die = event.target.closest?.("[data-dice]");
  if (!die) return;
  event.preventDefault();
  die.closest("form").elements[die.dataset.dice].value = Math.floor(Math.random() * 100000);
}

function showSliders(event) {
  if (event.target.type !== "range") return;
  const output = event.target.closest(".fp-field")?.querySelector("output");
  if (output) output.textContent = event.target.value;
}

/** Gradio builds the page itself, some time after this script has come. */
function whenReady(start) {
  const ready = () => document.querySelectorAll("[data-page]").length === Object.keys(PAGES).length;
  if (ready()) return start();
  const observer = new MutationObserver(() => {
    if (!ready()) return;
    observer.disconnect();
    start();
  });
  return observer.observe(document.documentElement, { childList: true, subtree: true });
}

/** Gradio styles every element inside its own classes; the pages have a look of their own. */
function ownLook() {
  for (const node of document.querySelectorAll(".fp-app .prose, .fp-app .md")) node.removeAttribute("class");
  const container = document.querySelector(".gradio-container");
  container.classList.remove(...[...container.classList].filter((name) => name.startsWith("gradio-container-")));
}

whenReady(() => {
  ownLook();
  new App();
});
