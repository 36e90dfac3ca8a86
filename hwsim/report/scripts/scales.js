// From values to places along an axis, and the values that deserve a tick.

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) || 10 * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  const steps = decades > 3 ? [1] : decades > 1 || count < 6 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e += 1) {
    steps.forEach((step) => ticks.push(Number((step * 10 ** e).toPrecision(12))));
  }
  const inside = ticks.filter((tick) => tick >= low && tick <= high);
  return inside.length > 1 ? inside : linearTicks(low, high, count);
}

// A scale takes values from [low, high] to [start, end]; a single value lies in the middle.
function scale([low, high], [start, end], logarithmic) {
  const along = logarithmic ? Math.log10 : (value) => value;
  const [from, to] = [along(low), along(high)];
  const span = to - from || 1;
  const at = (value) => (to === from ? (start + end) / 2 : start + ((along(value) - from) / span) * (end - start));
  at.invert = (place) => {
    const value = from + ((place - start) / (end - start)) * span;
    return logarithmic ? 10 ** value : value;
  };
  at.ticks = (count) => (to === from ? [low] : logarithmic ? logTicks(low, high, count) : linearTicks(low, high, count));
  return at;
}

// The interval of some values with a margin, so that no mark touches the frame.
function extent(values, logarithmic, margin = 0.05) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) return logarithmic ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  if (logarithmic) return [low / (high / low) ** margin, high * (high / low) ** margin];
  return [low - margin * (high - low), high + margin * (high - low)];
}
