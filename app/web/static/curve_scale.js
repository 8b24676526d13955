/** Scales, ticks and numbers of the curves. */

/**
 * From values to places: {low, high, log, place(value), value(place)}. The range is a little wider than the values;
 * `flush` keeps it as it is.
 */
export function scaleOf(values, [from, to], { log = false, flush = false } = {}) {
  const bend = log ? Math.log10 : (value) => value;
  const straighten = log ? (value) => 10 ** value : (value) => value;
  let low = bend(values.reduce((a, b) => Math.min(a, b)));
  let high = bend(values.reduce((a, b) => Math.max(a, b)));
  if (high - low < 1e-9) [low, high] = flush ? [low - 0.5, high + 0.5] : [low - 1, high + 1];
  const room = flush ? 0 : (high - low) * 0.07;
  [low, high] = [low - room, high + room];
  const place = (value) => from + ((bend(value) - low) / (high - low)) * (to - from);
  const value = (at) => straighten(low + ((at - from) / (to - from)) * (high - low));
  return { low: straighten(low), high: straighten(high), log, place, value };
}

/** About `count` round values within a scale: 1, 2 or 5 times a power of ten, or powers of ten of a long log scale. */
export function axisTicks({ low, high, log }, count) {
  if (log && high / low > 30) {
    const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
    return Array.from({ length: last - first + 1 }, (_, n) => 10 ** (first + n));
  }
  const rough = (0.7 * (high - low)) / count; // the round step is up to 2.5 times as long
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, n) => (first + n) * step);
}

/** A number in few signs: 12k, 31.46, 0.0042. */
export function compact(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${round(value / 1e6, 2)}M`;
  if (size >= 1e4) return `${round(value / 1e3, 1)}k`;
  if (size >= 100) return `${round(value, 1)}`;
  if (size >= 1 || size === 0) return `${round(value, 2)}`;
  return size < 1e-4 ? value.toExponential(1) : `${Number(value.toPrecision(3))}`;
}

const round = (value, digits) => Number(value.toFixed(digits));

/** At most `most` points that keep the shape: first, last, and the extremes of equal stretches. */
export function thinned(points, most) {
  if (points.length <= most) return points;
  const stretch = (points.length * 2) / most;
  const kept = [points[0]];
  for (let start = 1; start < points.length - 1; start += stretch) {
    const part = points.slice(Math.floor(start), Math.max(Math.floor(start) + 1, Math.floor(start + stretch)));
    const low = part.reduce((a, b) => (b[1] < a[1] ? b : a));
    const high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    kept.push(...(low === high ? [low] : low[0] < high[0] ? [low, high] : [high, low]));
  }
  return [...kept, points.at(-1)];
}
