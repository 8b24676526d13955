/** Files dropped on an element or chosen in a dialog, folders included, as [{file, name}] with paths as names. */

const MANY = 2000;

/** Call `taken(files)` with what is dropped on `node`. */
export function acceptDrops(node, taken) {
  const mark = (over) => (event) => {
    event.preventDefault();
    node.classList.toggle("fp-over", over);
  };
  node.addEventListener("dragover", mark(true));
  node.addEventListener("dragleave", mark(false));
  node.addEventListener("drop", async (event) => {
    mark(false)(event);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = entries.length ? await readEntries(entries) : [...event.dataTransfer.files].map(plain);
    if (found.length) taken(found);
  });
}

/** Open the browser's dialog; resolves to the files chosen, or none. */
export function chooseFiles({ accept = "", folder = false } = {}) {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = accept;
  input.multiple = folder;
  input.webkitdirectory = folder;
  return new Promise((resolve) => {
    input.addEventListener("change", () => resolve([...input.files].map(plain)));
    input.addEventListener("cancel", () => resolve([]));
    input.click();
  });
}

const plain = (file) => ({ file, name: file.webkitRelativePath || file.name });

async function readEntries(entries) {
  const found = [];
  const open = [...entries];
  while (open.length && found.length < MANY) {
    const entry = open.shift();
    if (entry.isFile) found.push({ file: await new Promise((ok, bad) => entry.file(ok, bad)), name: entry.fullPath.slice(1) });
    else open.push(...(await allOf(entry.createReader())));
  }
  return found;
}

/** A directory reader gives some entries at a time, and none at the end. */
async function allOf(reader) {
  const found = [];
  for (;;) {
    const some = await new Promise((ok, bad) => reader.readEntries(ok, bad));
    if (!some.length) return found;
    found.push(...some);
  }
}
