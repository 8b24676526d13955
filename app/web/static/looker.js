/**
 * Asks the server for pictures of one field: coarse ones while the camera moves, at most one under way, and a fine one
 * once it rests. A fine picture that is no longer wanted is broken off.
 */

import { sentence } from "./sentence.js";

const STILL_MILLISECONDS = 140;
const PROMPT_MILLISECONDS = 90; // what a coarse picture may take, there and back
const FEWEST_PIXELS = 1200;
const LONGEST_WAIT = 5; // seconds between tries
const TRIES = 60;

/** Width and height with about this many pixels, no more than the element shows. */
export function sizeFor(pixels, width, height) {
  const share = Math.min(1, Math.sqrt(pixels / (width * height)));
  return [width, height].map((side) => Math.max(8, Math.round(side * share)));
}

export class Looker {
  /**
   * ask(quality, pixels, abortSignal) -> Promise<Response>; show(Blob, facts) -> Promise; told(state, sentence?) with
   * state "working", "waiting", "rest" or "failed"; pixels {coarse, fine}: the most of each.
   */
  constructor({ ask, show, told, pixels, signal }) {
    Object.assign(this, { ask, show, told, most: pixels, signal });
    this.coarsePixels = Math.min(pixels.coarse, 8000);
    this.wanted = 0;
    signal.addEventListener("abort", () => this.stop());
  }

  /** The camera or mode is another one now. */
  want() {
    this.wanted += 1;
    clearTimeout(this.timer);
    if (this.under?.quality === "fine") this.under.abort.abort();
    else if (!this.under) this.#send("coarse");
  }

  stop() {
    clearTimeout(this.timer);
    this.under?.abort.abort();
  }

  async #send(quality) {
    if (this.signal.aborted) return;
    const version = this.wanted;
    const under = { quality, abort: new AbortController() };
    this.under = under;
    this.told("working");
    const began = performance.now();
    let failed = false;
    try {
      const pixels = quality === "coarse" ? this.coarsePixels : this.most.fine;
      const blob = await this.#answer(quality, pixels, under.abort.signal);
      const milliseconds = performance.now() - began;
      if (blob) await this.show(blob, { quality, milliseconds });
      if (blob && quality === "coarse") this.#adapt(milliseconds);
    } catch (error) {
      failed = error.name !== "AbortError";
      if (failed) this.told("failed", error.message);
    }
    this.under = null;
    this.#next(quality, version, failed);
  }

  #next(quality, version, failed) {
    if (this.signal.aborted) return;
    if (version !== this.wanted) this.#send("coarse");
    else if (quality === "coarse" && !failed) this.timer = setTimeout(() => this.#send("fine"), STILL_MILLISECONDS);
    else if (!failed) this.told("rest");
  }

  /** The picture; tried again while the server is busy; nothing for one that came too late to matter. */
  async #answer(quality, pixels, signal) {
    for (let tries = 0; tries < TRIES; tries++) {
      const response = await this.ask(quality, pixels, signal);
      if (response.ok) return response.blob();
      if (response.status === 409) return null;
      if (response.status !== 429 && response.status !== 503) throw new Error(await sentenceOf(response));
      this.told("waiting");
      const seconds = Math.min(LONGEST_WAIT, Number(response.headers.get("Retry-After")) || 1);
      await pause(seconds * 1000, signal);
    }
    throw new Error("The server is busy. Move the view to try again.");
  }

  /** Keep coarse pictures prompt on slow machines and as sharp as they can be on fast ones. */
  #adapt(milliseconds) {
    const factor = Math.min(1.5, Math.max(0.5, PROMPT_MILLISECONDS / milliseconds));
    this.coarsePixels = Math.min(this.most.coarse, Math.max(FEWEST_PIXELS, this.coarsePixels * factor));
  }
}

async function sentenceOf(response) {
  const answer = await response.json().catch(() => ({}));
  return answer.error ? sentence(answer.error) : `The picture did not arrive (${response.status}).`;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("ended", "AbortError"));
    });
  });
}
