/** On which page a job is at home. */

const PAGES = { fit: "fields", convert: "convert", mesh: "export", render: "library", upload: "library" };
const OF_SCENES = ["generate", "extend", "redo", "undo", "world_mesh"];

/** Such as "fields/ID": the address of a job. */
export function pageOf(job) {
  if (OF_SCENES.includes(job.kind)) return `worlds/${job.parameters?.scene ?? job.id}`;
  if (job.kind === "upload" && job.result?.kind !== "plan") return `fields/${job.id}`;
  const page = PAGES[job.kind] ?? "library";
  return page === "library" ? page : `${page}/${job.id}`;
}
