/**
 * Floor plans as layout JSON, the format of data/layout_files.py: a plan that was painted becomes areas, and any layout
 * is drawn into pixels by the rule of data/class_map.py: a pixel belongs to a polygon when its centre does.
 */

const FORMAT = "fieldscape-layout";
const VERSION = 1;

/** The layout of a plan {document, metresPerPixel, origin}; names: class names by index. */
export function layoutOf({ document, metresPerPixel, origin }, names, world) {
  const rounded = (value) => Math.round(value * 1e6) / 1e6;
  const x = (column) => rounded(origin[0] + column * metresPerPixel);
  const z = (row) => rounded(origin[1] + row * metresPerPixel);
  const areas = document.rectangles().map(({ value, x0, y0, x1, y1 }) => ({
    name: names[value],
    polygon: [[x(x0), z(y0)], [x(x1), z(y0)], [x(x1), z(y1)], [x(x0), z(y1)]],
    label: "",
  }));
  const bounds = [x(0), z(0), x(document.width), z(document.height)];
  return { format: FORMAT, version: VERSION, world, bounds, areas, walls: [], openings: [], objects: [] };
}

/** A layout drawn into {width, height, indices, metresPerPixel, origin}; throws a sentence when it is none. */
export function drawLayout(layout, palette, metresPerPixel, largestSide) {
  if (layout?.format !== FORMAT || layout.version !== VERSION || !Array.isArray(layout.bounds)) {
    throw new Error("This JSON file is not a layout of Fieldscape.");
  }
  const [x0, z0, x1, z1] = layout.bounds;
  const [width, height] = [x1 - x0, z1 - z0].map((side) => Math.max(1, Math.ceil(side / metresPerPixel - 1e-6)));
  if (!(Math.max(width, height) <= largestSide)) throw new Error("This layout is too large to be painted here.");
  const indices = new Uint8Array(width * height);
  const sheet = { indices, width, height, origin: [x0, z0], metresPerPixel };
  const index = Object.fromEntries(palette.map((entry) => [entry.name, entry.index]));
  for (const [name, polygon] of polygons(layout)) {
    if (!(name in index)) throw new Error(`This layout has an unknown class: ${String(name).slice(0, 40)}.`);
    paint(polygon, index[name], sheet);
  }
  return sheet;
}

/** [class name, corners] from the ground up, as Layout.shapes. */
function* polygons({ areas = [], walls = [], openings = [], objects = [] }) {
  for (const { name, polygon } of areas) yield [name, polygon];
  for (const { start, end, thickness } of walls) yield ["wall", band(start, end, thickness, thickness / 2)];
  for (const { name, wall, centre, width } of openings) {
    const { start, end, thickness } = walls[wall];
    const along = (metres) => {
      const t = metres / Math.hypot(end[0] - start[0], end[1] - start[1]);
      return [start[0] + t * (end[0] - start[0]), start[1] + t * (end[1] - start[1])];
    };
    yield [name, band(along(centre - width / 2), along(centre + width / 2), thickness, 0)];
  }
  const top = ({ centre, size }) => centre[1] + size[1] / 2;
  for (const { name, centre, size, yaw } of [...objects].sort((a, b) => top(a) - top(b))) {
    yield [name, rectangle([centre[0], centre[2]], size[0], size[2], yaw)];
  }
}

function rectangle([x, z], width, depth, yaw) {
  const [s, c] = [Math.sin(yaw), Math.cos(yaw)];
  return [[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([sx, sz]) => {
    const [u, v] = [(sx * width) / 2, (sz * depth) / 2];
    return [x + (u * c + v * s), z + (v * c - u * s)];
  });
}

function band(start, end, width, cap) {
  const [dx, dz] = [end[0] - start[0], end[1] - start[1]];
  const middle = [(start[0] + end[0]) / 2, (start[1] + end[1]) / 2];
  return rectangle(middle, Math.hypot(dx, dz) + 2 * cap, width, Math.atan2(-dz, dx));
}

/**
 * Set the pixels whose centre lies in a polygon, even-odd, row by row. Everything is compared in metres and in the
 * order of data/plane_geometry.py, so that centres on an edge fall to the same side.
 */
function paint(polygon, value, { indices, width, height, origin, metresPerPixel }) {
  const centre = (axis, pixel) => origin[axis] + (pixel + 0.5) * metresPerPixel;
  const firstFrom = (crossing) => {
    let column = Math.ceil((crossing - origin[0]) / metresPerPixel - 0.5);
    while (centre(0, column - 1) >= crossing) column--;
    while (centre(0, column) < crossing) column++;
    return Math.max(0, Math.min(width, column));
  };
  for (let row = 0; row < height; row++) {
    const columns = crossingsAt(polygon, centre(1, row)).map(firstFrom).sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < columns.length; pair += 2) {
      indices.fill(value, row * width + columns[pair], row * width + columns[pair + 1]);
    }
  }
}

/** Where the edges of a polygon cross a row. */
function crossingsAt(polygon, z) {
  return polygon.flatMap(([xa, za], number) => {
    const [xb, zb] = polygon[(number + 1) % polygon.length];
    return za <= z === zb <= z ? [] : [xa + (z - za) * ((xb - xa) / (zb - za))];
  });
}
