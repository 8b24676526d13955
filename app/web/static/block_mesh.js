/** Reads the binary block mesh; its layout is described in world_view.js. */

const MAGIC = 0x4d425346; // "FSBM"
const VERSION = 1;
const HEADER_BYTES = 16;

/**
 * Typed arrays over the buffer: positions [V, 3], normals [V, 4], colours [V, 4], indices [3 F], and box [low, high].
 * Throws a sentence when the buffer is not whole, of another version, or points outside its vertices.
 */
export function readBlockMesh(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw new Error("What the server sent for a block is not a block mesh.");
  }
  if (view.getUint32(4, true) !== VERSION) throw new Error("This block mesh is of another version: reload the page.");
  const [vertices, faces] = [view.getUint32(8, true), view.getUint32(12, true)];
  const wanted = HEADER_BYTES + vertices * 20 + faces * 12;
  if (buffer.byteLength !== wanted) throw new Error("A block mesh arrived cut short.");
  const positions = new Float32Array(buffer, HEADER_BYTES, vertices * 3);
  const normals = new Int8Array(buffer, HEADER_BYTES + vertices * 12, vertices * 4);
  const colours = new Uint8Array(buffer, HEADER_BYTES + vertices * 16, vertices * 4);
  const indices = new Uint32Array(buffer, HEADER_BYTES + vertices * 20, faces * 3);
  if (indices.some((index) => index >= vertices)) throw new Error("A block mesh points at vertices it does not have.");
  return { positions, normals, colours, indices, box: boxOf(positions) };
}

/** Smallest box [low, high] around positions [V, 3]; nothing for none. */
export function boxOf(positions) {
  if (!positions.length) return null;
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (let index = 0; index < positions.length; index++) {
    const axis = index % 3;
    if (positions[index] < low[axis]) low[axis] = positions[index];
    if (positions[index] > high[axis]) high[axis] = positions[index];
  }
  return [low, high];
}
