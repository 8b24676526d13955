/**
 * Floor plans as palette PNGs, the same as data/class_map.py writes and reads: one class a pixel, and a text chunk
 * "fieldscape" with {"metres_per_pixel", "origin"}. (W3C, "Portable Network Graphics Specification", third edition.)
 */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const KEYWORD = "fieldscape";
const LARGEST_TEXT = 1000;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(kind), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** plan: {width, height, indices, metresPerPixel, origin}; palette: [{index, rgb}]; resolves to a Blob. */
export async function encodePlan(plan, palette) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, plan.width);
  view.setUint32(4, plan.height);
  header.set([8, 3, 0, 0, 0], 8); // 8 bits, palette
  const colours = new Uint8Array(3 * (1 + Math.max(...palette.map((entry) => entry.index))));
  for (const { index, rgb } of palette) colours.set(rgb, 3 * index);
  const rows = new Uint8Array((plan.width + 1) * plan.height); // each row begins with filter 0
  for (let y = 0; y < plan.height; y++) {
    rows.set(plan.indices.subarray(y * plan.width, (y + 1) * plan.width), y * (plan.width + 1) + 1);
  }
  const place = JSON.stringify({ metres_per_pixel: plan.metresPerPixel, origin: plan.origin });
  const chunks = [
    chunk("IHDR", header),
    chunk("PLTE", colours),
    chunk("tEXt", new TextEncoder().encode(`${KEYWORD}\0${place}`)),
    chunk("IDAT", await deflated(rows)),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks], { type: "image/png" });
}

/** Scale and origin from the text chunk, or nothing. */
function placeOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = SIGNATURE.length;
  while (at + 12 <= bytes.length) {
    const size = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + size);
    if (kind === "tEXt" && size < LARGEST_TEXT) {
      const [keyword, text] = new TextDecoder().decode(data).split("\0");
      if (keyword === KEYWORD) return validPlace(text);
    }
    at += 12 + size;
  }
  return null;
}

function validPlace(text) {
  try {
    const { metres_per_pixel: metresPerPixel, origin } = JSON.parse(text);
    const isPlace = metresPerPixel > 0 && Array.isArray(origin) && origin.length === 2 && origin.every(Number.isFinite);
    return isPlace ? { metresPerPixel, origin } : null;
  } catch {
    return null;
  }
}

/**
 * A picture in palette colours, resolved to {width, height, indices, metresPerPixel?, origin?, snapped}: `snapped`
 * pixels had a colour outside the legend and became the nearest class. Throws a sentence for what is no picture.
 */
export async function decodePlan(blob, palette, largestSide) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new Error("This file is not a picture that the browser can open.");
  });
  const { width, height } = bitmap;
  if (Math.max(width, height) > largestSide) {
    throw new Error(`This plan has ${width} x ${height} pixels; ${largestSide} a side is the most here.`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(drawing.getImageData(0, 0, width, height).data.buffer);
  return { width, height, ...classified(pixels, palette), ...placeOf(bytes) };
}

/** Class of every pixel, ABGR in 32 bits; what is transparent is void. */
function classified(pixels, palette) {
  const known = new Map(palette.map(({ index, rgb: [r, g, b] }) => [(b << 16) | (g << 8) | r, { index, snapped: 0 }]));
  const indices = new Uint8Array(pixels.length);
  let snapped = 0;
  pixels.forEach((pixel, place) => {
    if (pixel >>> 24 === 0) return;
    const key = pixel & 0xffffff;
    if (!known.has(key)) known.set(key, { index: nearest(key, palette), snapped: 1 });
    const found = known.get(key);
    indices[place] = found.index;
    snapped += found.snapped;
  });
  return { indices, snapped };
}

function nearest(key, palette) {
  const colour = [key & 255, (key >> 8) & 255, key >> 16];
  const far = ({ rgb }) => rgb.reduce((sum, value, axis) => sum + (value - colour[axis]) ** 2, 0);
  return palette.reduce((best, entry) => (far(entry) < far(best) ? entry : best)).index;
}
