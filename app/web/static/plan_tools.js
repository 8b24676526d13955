/** What each tool of the painter does to the plan; places are pixels [x, y]. */

const WALL_METRES = 0.12; // as data.layout.Wall

/** Place moved onto the straight line through the start that it is nearest to. */
function straight(start, [x, y]) {
  return Math.abs(x - start[0]) > Math.abs(y - start[1]) ? [x, start[1]] : [start[0], y];
}

/** A brush that paints `valueOf(painter)`. */
function brush(valueOf) {
  return {
    sized: true,
    begin: (painter, at) => painter.document.stroke(...at, ...at, painter.size, valueOf(painter)),
    move: (painter, at, { start, last, isStraight }) => {
      if (isStraight) painter.document.revert();
      const [from, to] = isStraight ? [start, straight(start, at)] : [last, at];
      painter.document.stroke(...from, ...to, painter.size, valueOf(painter));
    },
  };
}

/** A shape between two corners, shown while it is drawn out. */
function shape(draw) {
  const move = (painter, at, { start }) => {
    painter.document.revert();
    draw(painter, start, at);
  };
  return { spans: true, begin: (painter, at) => move(painter, at, { start: at }), move };
}

function room(painter, from, to) {
  const thickness = Math.max(1, Math.round(WALL_METRES / painter.metresPerPixel));
  painter.document.room(...from, ...to, painter.indexOf("floor"), painter.indexOf("wall"), thickness);
}

/** In the order of the toolbar. `needs`: class names without which a tool makes no sense. */
export const TOOLS = [
  { value: "brush", label: "Brush", icon: "brush", keys: "B", ...brush((painter) => painter.chosen) },
  {
    value: "rectangle",
    label: "Rectangle",
    icon: "rectangle",
    keys: "R",
    ...shape((painter, from, to) => painter.document.rectangle(...from, ...to, painter.chosen)),
  },
  { value: "room", label: "Room: floor with walls", icon: "room", keys: "M", needs: ["floor", "wall"], ...shape(room) },
  {
    value: "fill",
    label: "Fill",
    icon: "fill",
    keys: "F",
    begin: (painter, at) => painter.document.fill(...at, painter.chosen),
  },
  { value: "erase", label: "Erase", icon: "erase", keys: "E", ...brush(() => 0) },
  {
    value: "pick",
    label: "Pick a class from the plan",
    icon: "pick",
    keys: "I",
    begin: (painter, at) => painter.pick(at),
  },
];
