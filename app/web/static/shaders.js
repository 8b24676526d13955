/** The three looks of the views: lit surfaces, flat lines, and the ground with its grid and cells. */

const TO_LINEAR = "vec3 linear(vec3 c) { return pow(c, vec3(2.2)); }\n";

const SURFACE_VERTEX = `
uniform mat4 view_projection, model;
in vec3 position; in vec3 normal; in vec4 colour; in vec2 uv;
out vec3 place, facing; out vec4 paint; out vec2 at;
void main() {
  vec4 world = model * vec4(position, 1.0);
  place = world.xyz; facing = mat3(model) * normal; paint = colour; at = uv;
  gl_Position = view_projection * world;
}`;

// A sky brighter than the ground, one key light that wraps round edges, and a faint light from the eye.
const SURFACE_FRAGMENT = `${TO_LINEAR}
uniform vec3 eye, up, tint, sky; uniform float tint_share, linear_colours, presence; uniform sampler2D picture;
in vec3 place, facing; in vec4 paint; in vec2 at; out vec4 result;
void main() {
  vec3 n = dot(facing, facing) > 0.0 ? normalize(facing) : normalize(cross(dFdx(place), dFdy(place)));
  vec3 to_eye = normalize(eye - place);
  if (dot(n, to_eye) < 0.0 && !gl_FrontFacing) n = -n;
  vec3 key = normalize(up + 0.55 * normalize(cross(up, vec3(0.31, 0.17, 0.93))) + vec3(0.12, 0.05, 0.21));
  float hemisphere = 0.5 + 0.5 * dot(n, up);
  float wrapped = max(0.0, (dot(n, key) + 0.25) / 1.25);
  vec3 light = mix(vec3(0.34, 0.32, 0.31), vec3(0.62, 0.66, 0.72), hemisphere)
    + vec3(0.62, 0.59, 0.54) * wrapped + 0.10 * max(0.0, dot(n, to_eye));
  vec3 base = linear_colours > 0.5 ? paint.rgb : linear(paint.rgb);
  base *= linear(texture(picture, at).rgb);
  vec3 shaded = pow(min(mix(base, linear(tint), tint_share) * light * 0.8, 1.0), vec3(1.0 / 2.2));
  result = vec4(mix(sky, shaded, presence), 1.0);
}`;

const LINE_VERTEX = `
uniform mat4 view_projection, model; in vec3 position; in vec4 colour; out vec4 paint;
void main() {
  paint = colour; gl_PointSize = 3.0;
  gl_Position = view_projection * model * vec4(position, 1.0);
  gl_Position.z -= 2e-4 * gl_Position.w; // before the surface that it lies on
}`;
const LINE_FRAGMENT = `
uniform vec4 tint; in vec4 paint; out vec4 result;
void main() { result = tint.a > 0.0 ? tint : paint; }`;

const GROUND_VERTEX = `
uniform mat4 view_projection; uniform vec3 origin, side, front; in vec3 position; out vec2 at;
void main() { at = position.xy; gl_Position = view_projection * vec4(origin + side * at.x + front * at.y, 1.0); }`;

// Lines of even width on the screen; they fade where they would flicker and towards the rim.
const GRID_FRAGMENT = `
uniform vec3 sky, ground, line; uniform vec2 middle; uniform float reach, spacing; in vec2 at; out vec4 result;
float lines(float gap) {
  vec2 cell = at / gap, width = fwidth(cell);
  vec2 far = abs(fract(cell - 0.5) - 0.5) / width;
  return (1.0 - min(min(far.x, far.y), 1.0)) * (1.0 - smoothstep(0.15, 0.5, max(width.x, width.y)));
}
void main() {
  float rim = 1.0 - smoothstep(0.35, 1.0, length(at - middle) / reach);
  float drawn = max(lines(spacing) * 0.32, lines(spacing * 5.0) * 0.55);
  result = vec4(mix(sky, mix(ground, line, drawn), rim), 1.0);
}`;

// One cell beside or under the scene: rounded, with a border, and a plus sign where it can be grown into.
const CELL_FRAGMENT = `
uniform vec4 fill, border; uniform float size, plus; in vec2 at; out vec4 result;
void main() {
  vec2 p = abs(at - 0.5) * size;
  float radius = size * 0.06, edge = size * 0.5 - size * 0.03;
  vec2 q = p - (edge - radius);
  float outside = length(max(q, 0.0)) + min(max(q.x, q.y), 0.0) - radius;
  float pixel = max(fwidth(outside), 1e-5);
  float inside = 1.0 - smoothstep(-pixel, pixel, outside);
  float ring = inside * smoothstep(-pixel * 2.5, -pixel, outside + pixel);
  float arm = size * 0.13, thin = size * 0.016;
  float cross_sign = plus * (1.0 - smoothstep(-pixel, pixel, min(
    max(p.x - arm, p.y - thin), max(p.y - arm, p.x - thin))));
  vec4 colour = mix(fill * inside, border, max(ring * border.a, cross_sign * border.a));
  result = vec4(colour.rgb, max(colour.a, 0.0) * inside);
}`;

const PICK_FRAGMENT = "uniform vec4 tint; out vec4 result; void main() { result = tint; }";

/** Sources [vertex, fragment] of every program. */
export const SHADERS = {
  surface: [SURFACE_VERTEX, SURFACE_FRAGMENT],
  line: [LINE_VERTEX, LINE_FRAGMENT],
  grid: [GROUND_VERTEX, GRID_FRAGMENT],
  cell: [GROUND_VERTEX, CELL_FRAGMENT],
  pick: [SURFACE_VERTEX, PICK_FRAGMENT],
};
