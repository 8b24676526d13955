/**
 * Reads binary glTF 2.0 as this program writes it, and what is near to it: triangles with positions, normals, colours,
 * one picture a material, and nodes with matrices or translation, rotation and scale. Compressed meshes, skins and
 * animations are not read. (Khronos, "glTF 2.0 Specification".)
 */

import { boxOf } from "./block_mesh.js";
import { around, IDENTITY, multiply, transformed } from "./linear.js";

const MAGIC = 0x46546c67;
const [JSON_CHUNK, BINARY_CHUNK] = [0x4e4f534a, 0x004e4942];
const ARRAYS = {
  5120: Int8Array,
  5121: Uint8Array,
  5122: Int16Array,
  5123: Uint16Array,
  5125: Uint32Array,
  5126: Float32Array,
};
const WIDTHS = { SCALAR: 1, VEC2: 2, VEC3: 3, VEC4: 4 };
const DEEPEST = 64;

/**
 * {parts: [{position, normal, colour, uv, indices, matrix, paint, image}], faces, vertices, bounds}; throws a sentence
 * for a file that it cannot read.
 */
export async function readGlb(buffer) {
  const { document, binary } = chunks(buffer);
  const file = new GlbFile(document, binary);
  const parts = file.parts();
  if (!parts.length) throw new Error("This file holds no triangles.");
  await Promise.all(parts.map(async (part) => (part.image = await file.image(part.picture))));
  const faces = parts.reduce((sum, part) => sum + (part.indices?.length ?? part.position.length / 3) / 3, 0);
  const vertices = parts.reduce((sum, part) => sum + part.position.length / 3, 0);
  return { parts, faces, vertices, bounds: around(parts.map(boxOfPart)) };
}

function boxOfPart({ position, matrix }) {
  const [low, high] = boxOf(position);
  const corner = (n) => [0, 1, 2].map((axis) => ((n >> axis) & 1 ? high : low)[axis]);
  const corners = Array.from({ length: 8 }, (_, n) => transformed(matrix, corner(n)));
  return around(corners.map((place) => [place, place]));
}

function chunks(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 20 || view.getUint32(0, true) !== MAGIC) throw new Error("This file is not a GLB.");
  const found = {};
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at, true);
    if (at + 8 + size > buffer.byteLength) throw new Error("This GLB is cut short.");
    found[view.getUint32(at + 4, true)] = { start: at + 8, size };
    at += 8 + size;
  }
  const json = found[JSON_CHUNK];
  if (!json) throw new Error("This GLB has no description in it.");
  const document = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, json.start, json.size)));
  return { document, binary: { buffer, start: found[BINARY_CHUNK]?.start ?? 0 } };
}

class GlbFile {
  constructor(document, binary) {
    this.document = document;
    this.binary = binary;
  }

  /** Every primitive of triangles with the matrix of its node. */
  parts() {
    const { scenes = [], scene = 0, nodes = [] } = this.document;
    const roots = scenes[scene]?.nodes ?? nodes.map((_, index) => index);
    return roots.flatMap((index) => this.#below(index, IDENTITY, 0));
  }

  #below(index, above, depth) {
    const node = this.document.nodes[index];
    if (!node || depth > DEEPEST) throw new Error("The nodes of this GLB do not form a tree.");
    const matrix = multiply(above, matrixOf(node));
    const own = this.document.meshes?.[node.mesh]?.primitives.filter(({ mode = 4 }) => mode === 4) ?? [];
    const below = (node.children ?? []).flatMap((child) => this.#below(child, matrix, depth + 1));
    return [...own.map((part) => this.#part(part, matrix)), ...below];
  }

  #part({ attributes, indices, material, extensions }, matrix) {
    if (extensions?.KHR_draco_mesh_compression) throw new Error("This GLB is compressed, which is not read here.");
    const surface = this.document.materials?.[material]?.pbrMetallicRoughness;
    const { baseColorFactor = [1, 1, 1, 1], baseColorTexture } = surface ?? {};
    const colour = attributes.COLOR_0 === undefined ? null : this.#colours(attributes.COLOR_0, baseColorFactor);
    const optional = (name) => (attributes[name] === undefined ? null : this.#floats(attributes[name]));
    return {
      position: this.#floats(attributes.POSITION),
      normal: optional("NORMAL"),
      uv: baseColorTexture ? optional("TEXCOORD_0") : null,
      colour,
      indices: indices === undefined ? null : Uint32Array.from(this.#read(indices).values),
      paint: baseColorFactor,
      picture: baseColorTexture?.index,
      matrix,
    };
  }

  /** Values of an accessor, without gaps between them. */
  #read(index) {
    const accessor = this.document.accessors[index];
    const { bufferView, byteOffset = 0, componentType, count, type, normalized = false } = accessor;
    const { byteOffset: start = 0, byteStride } = this.document.bufferViews[bufferView];
    const [Kind, width] = [ARRAYS[componentType], WIDTHS[type]];
    const place = this.binary.start + start + byteOffset;
    const packed = width * Kind.BYTES_PER_ELEMENT;
    const stride = byteStride ?? packed;
    const bytes = new Uint8Array(count * packed);
    for (let row = 0; row < count; row++) {
      bytes.set(new Uint8Array(this.binary.buffer, place + row * stride, packed), row * packed);
    }
    return { values: new Kind(bytes.buffer), width, normalized };
  }

  #floats(index) {
    const { values, normalized } = this.#read(index);
    if (values instanceof Float32Array) return values;
    const signBits = values instanceof Int8Array || values instanceof Int16Array ? 1 : 0;
    const most = normalized ? 2 ** (8 * values.BYTES_PER_ELEMENT - signBits) - 1 : 1;
    return Float32Array.from(values, (value) => value / most);
  }

  /** Linear colours as sRGB bytes [V, 4], so that 8 bits do not band in the shadows. */
  #colours(index, factor) {
    const { width } = this.#read(index);
    const linear = this.#floats(index);
    const bytes = new Uint8Array((linear.length / width) * 4).fill(255);
    for (let vertex = 0; vertex < bytes.length / 4; vertex++) {
      for (let c = 0; c < 3; c++) {
        const light = Math.min(1, linear[width * vertex + c] * factor[c]);
        bytes[4 * vertex + c] = 255 * light ** (1 / 2.2) + 0.5;
      }
    }
    return bytes;
  }

  /** The picture of a texture, decoded; nothing when there is none. */
  async image(index) {
    const source = this.document.textures?.[index]?.source;
    const entry = this.document.images?.[source];
    if (entry?.bufferView === undefined) return null;
    const { byteOffset = 0, byteLength } = this.document.bufferViews[entry.bufferView];
    const bytes = new Uint8Array(this.binary.buffer, this.binary.start + byteOffset, byteLength);
    return createImageBitmap(new Blob([bytes], { type: entry.mimeType }), { colorSpaceConversion: "none" });
  }
}

function matrixOf({ matrix, translation = [0, 0, 0], rotation: [x, y, z, w] = [0, 0, 0, 1], scale: s = [1, 1, 1] }) {
  if (matrix) return Float32Array.from(matrix);
  return Float32Array.of(
    (1 - 2 * (y * y + z * z)) * s[0], 2 * (x * y + z * w) * s[0], 2 * (x * z - y * w) * s[0], 0,
    2 * (x * y - z * w) * s[1], (1 - 2 * (x * x + z * z)) * s[1], 2 * (y * z + x * w) * s[1], 0,
    2 * (x * z + y * w) * s[2], 2 * (y * z - x * w) * s[2], (1 - 2 * (x * x + y * y)) * s[2], 0,
    ...translation, 1,
  );
}
