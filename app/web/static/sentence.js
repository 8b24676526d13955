/** The server's refusals as sentences that a page shows. */

/** `{what, where, got, expected, fix}` of an answer as one or two sentences. */
export function sentence(error) {
  if (!error?.what) return "Something went wrong.";
  const place = error.where ? ` (${error.where})` : "";
  const found = [error.got && `found ${error.got}`, error.expected && `needed ${error.expected}`].filter(Boolean);
  const detail = found.length ? `: ${found.join(", ")}` : "";
  const fix = error.fix ? ` ${capital(error.fix)}.` : "";
  return `${capital(error.what)}${place}${detail}.${fix}`;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
