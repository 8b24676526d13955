/** The server's JSON routes; what goes wrong becomes an Error whose message is a sentence. */

import { sentence } from "../sentence.js";

async function answered(response) {
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const error = new Error(sentence(body.error));
  error.status = response.status;
  throw error;
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  return answered(response);
}

export const get = (path) => asked(path, { cache: "no-store" });

export const post = (path, body = {}) =>
  asked(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Send files ([{file, name}]); `moved(share)` is told how much has gone. Resolves to the upload's job. */
export function upload(files, moved = () => {}) {
  const form = new FormData();
  for (const { file, name } of files) form.append("files", file, name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/uploads");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && moved(event.loaded / event.total);
    request.onerror = () => reject(new Error("The upload broke off. Is the server still running?"));
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(new Error(sentence(request.response?.error)));
    request.send(form);
  });
}

/** The address of one of a job's files; `changed` makes a new version a new address. */
export function fileUrl(job, name) {
  const file = job.files.find((entry) => entry.name === name);
  const version = file ? `?v=${file.changed}` : "";
  return `/files/${job.id}/${name}${version}`;
}

export const hasFile = (job, name) => Boolean(job?.files?.some((file) => file.name === name));

/** Save an address of ours under the name that the server gives. */
export function download(url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = "";
  link.click();
}
