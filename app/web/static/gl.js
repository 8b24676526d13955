/** The little of WebGL 2 that the views need: programs, buffers and textures, each freed with one call. */

/** A drawing context; throws a sentence for people when the browser has none. */
export function context(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: false, powerPreference: "low-power" });
  if (!gl) throw new Error("This browser cannot draw 3D here: WebGL 2 is missing or switched off.");
  return gl;
}

/** A linked program with its uniform places by name. */
export function program(gl, vertex, fragment) {
  const linked = gl.createProgram();
  for (const [type, source] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, `#version 300 es\nprecision highp float;\n${source}`);
    gl.compileShader(shader);
    gl.attachShader(linked, shader);
  }
  ["position", "normal", "colour", "uv"].forEach((name, place) => gl.bindAttribLocation(linked, place, name));
  gl.linkProgram(linked);
  if (!gl.getProgramParameter(linked, gl.LINK_STATUS) && !gl.isContextLost()) {
    const said = gl.getAttachedShaders(linked).map((shader) => gl.getShaderInfoLog(shader));
    throw new Error(`A shader does not compile: ${said.join(" ")}`);
  }
  const count = gl.getProgramParameter(linked, gl.ACTIVE_UNIFORMS) ?? 0;
  const names = Array.from({ length: count }, (_, index) => gl.getActiveUniform(linked, index).name);
  return { linked, places: Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(linked, name)])) };
}

/** Use a program with these uniforms: numbers, vectors of 2 to 4, or matrices of 16. */
export function use(gl, { linked, places }, uniforms) {
  gl.useProgram(linked);
  for (const [name, value] of Object.entries(uniforms)) {
    const place = places[name];
    if (!place) continue;
    if (typeof value === "number") gl.uniform1f(place, value);
    else if (value.length === 16) gl.uniformMatrix4fv(place, false, value);
    else gl[`uniform${value.length}fv`](place, value);
  }
}

const ATTRIBUTES = { position: 0, normal: 1, colour: 2, uv: 3 };
const WIDTHS = { position: 3, uv: 2 };

/** Vertices on the graphics card. */
export class Shape {
  /**
   * arrays: position Float32Array [V, 3]; normal Int8Array [V, 4] or Float32Array [V, 3]; colour Uint8Array [V, 4];
   * uv Float32Array [V, 2]; `indices` Uint32Array. Without indices the vertices are drawn in turn.
   */
  constructor(gl, arrays, indices = null) {
    this.gl = gl;
    this.vertexArray = gl.createVertexArray();
    this.buffers = [];
    gl.bindVertexArray(this.vertexArray);
    for (const [name, array] of Object.entries(arrays)) this.#attribute(name, array);
    if (indices) this.#store(gl.ELEMENT_ARRAY_BUFFER, indices);
    gl.bindVertexArray(null);
    this.indexed = indices !== null;
    this.count = indices ? indices.length : arrays.position.length / 3;
  }

  #store(target, data) {
    const buffer = this.gl.createBuffer();
    this.gl.bindBuffer(target, buffer);
    this.gl.bufferData(target, data, this.gl.STATIC_DRAW);
    this.buffers.push(buffer);
  }

  #attribute(name, array) {
    const { gl } = this;
    const floats = array instanceof Float32Array;
    const type = floats ? gl.FLOAT : array instanceof Int8Array ? gl.BYTE : gl.UNSIGNED_BYTE;
    this.#store(gl.ARRAY_BUFFER, array);
    gl.enableVertexAttribArray(ATTRIBUTES[name]);
    gl.vertexAttribPointer(ATTRIBUTES[name], WIDTHS[name] ?? (floats ? 3 : 4), type, !floats, 0, 0);
  }

  draw(mode = this.gl.TRIANGLES) {
    const { gl } = this;
    gl.bindVertexArray(this.vertexArray);
    if (this.indexed) gl.drawElements(mode, this.count, gl.UNSIGNED_INT, 0);
    else gl.drawArrays(mode, 0, this.count);
    gl.bindVertexArray(null);
  }

  free() {
    this.buffers.forEach((buffer) => this.gl.deleteBuffer(buffer));
    this.gl.deleteVertexArray(this.vertexArray);
  }
}

/** A texture with mipmaps from a picture, or one white pixel without. */
export function texture(gl, picture = null) {
  const made = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, made);
  if (picture) gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  else gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, Uint8Array.of(255, 255, 255, 255));
  gl.generateMipmap(gl.TEXTURE_2D);
  return made;
}
