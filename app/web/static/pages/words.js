/** Numbers as people say them. */

export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(0)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(1)} MB`;
  return `${Number((count / 1e9).toFixed(2))} GB`;
}

export const decibels = (value) => (value == null ? "" : `${value.toFixed(1)} dB`);

export const whole = (value) => Math.round(value).toLocaleString("en");

/** When something was, from how long ago it is. */
export function ago(seconds) {
  const past = Date.now() / 1000 - seconds;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  return new Date(seconds * 1000).toLocaleDateString();
}

const KINDS = {
  fit: "Field", convert: "Converted field", mesh: "Mesh", render: "Film", generate: "World", extend: "Growth",
  redo: "New block", undo: "Undo", upload: "Upload", world_mesh: "World mesh",
};

export const kindName = (kind) => KINDS[kind] ?? kind;

const STATES = {
  queued: "Waiting", running: "Running", done: "Done", failed: "Failed", cancelled: "Stopped", interrupted: "Interrupted",
};

export const stateName = (state) => STATES[state] ?? state;
