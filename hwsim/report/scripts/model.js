// What was measured, what of it is kept by the filters, and which point is looked at: every view draws from here.

const data = JSON.parse(document.getElementById("data").textContent);
const { metrics, points } = data;
const byId = (id) => document.getElementById(id);
const metricIndex = (name) => metrics.findIndex((metric) => metric.name === name);
const ACCURACY = metricIndex("accuracy");
const LOSS = metricIndex("accuracy_loss");
const valuesOf = (metric) => points.map((point) => point.values[metric]);
const title = (metric) => (metric.unit ? `${metric.caption} (${metric.unit})` : metric.caption);

const ranges = new Map(); // metric -> [low, high], what is brushed in any view or typed into a limit
const wanted = { text: () => true, frontOnly: false };
let kept = new Set(points.keys());
let lit = -1;

const listeners = { kept: [], lit: [] };
const tell = (what) => listeners[what].forEach((listener) => listener());

const within = (value, [low, high]) => value >= low && value <= high;

function keeps(point, index) {
  if (wanted.frontOnly && !point.front) return false;
  return wanted.text(index) && Array.from(ranges).every(([metric, range]) => within(point.values[metric], range));
}

function filter() {
  kept = new Set(Array.from(points.keys()).filter((index) => keeps(points[index], index)));
  tell("kept");
}

// An interval that holds every value is no limit.
function limit(metric, range) {
  const all = valuesOf(metric);
  if (!range || (range[0] <= Math.min(...all) && range[1] >= Math.max(...all))) ranges.delete(metric);
  else ranges.set(metric, range);
}

function light(index) {
  if (index === lit) return;
  lit = index;
  tell("lit");
}

// Numbers as the rest of the page writes them.
function figure(metric, value) {
  const { unit } = metrics[metric];
  if (["%", "points", "\u00d7"].includes(unit)) return value.toFixed(2);
  return number(value);
}

function number(value) {
  if (Number.isInteger(value) || Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

const quantity = (metric, value) => {
  const { unit } = metrics[metric];
  return `${figure(metric, value)}${!unit || unit === "%" || unit === "\u00d7" ? "" : " "}${unit}`;
};
