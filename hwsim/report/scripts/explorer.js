// The large plot: which metrics it shows, brushing it, and walking through it by keyboard.

const plot = byId("plot");
const choice = { x: byId("axis-x"), y: byId("axis-y"), third: byId("axis-third"), how: byId("third-as") };
const boxes = { logX: byId("log-x"), logY: byId("log-y"), intervals: byId("intervals"), closeUp: byId("close-up") };
const narrow = matchMedia("(max-width: 48rem)");
const collapsed = (i) => points[i].values[LOSS] > data.close_up;
const isAccuracy = (metric) => metric === ACCURACY || metric === LOSS;
let drawn = null;

const axis = (side) => Number(choice[side].value);

function allow(box, allowed, why) {
  box.disabled = !allowed;
  box.parentElement.title = allowed ? "" : why;
  return allowed && box.checked;
}

// The part of an accuracy axis up to a loss of data.close_up points, for networks whose fewest bits collapse.
function domain(metric, logarithmic) {
  const all = valuesOf(metric);
  if (!boxes.closeUp.checked || boxes.closeUp.disabled || !isAccuracy(metric)) return extent(all, logarithmic);
  return extent(all.filter((_, i) => !collapsed(i)), logarithmic);
}

function drawPlot() {
  const [x, y] = [axis("x"), axis("y")];
  const width = Math.max(300, plot.parentElement.clientWidth - 2);
  const height = narrow.matches ? 380 : Math.min(520, Math.max(400, width * 0.62));
  const positive = (metric) => valuesOf(metric).every((value) => value > 0);
  const log = { x: allow(boxes.logX, positive(x), "Some values are zero or below"), y: allow(boxes.logY, positive(y), "Some values are zero or below") };
  const accuracy = isAccuracy(x) || isAccuracy(y);
  const beyond = points.filter((_, i) => collapsed(i)).length;
  allow(boxes.closeUp, accuracy && beyond > 0 && beyond < points.length, "No axis is an accuracy that some designs lose");
  const third = choice.third.value;
  const metric = third !== "" && !Number.isNaN(Number(third));
  choice.how.disabled = !metric;
  const bySize = metric && choice.how.value === "size";
  drawn = scatter(plot, {
    x, y, width, height, log, margin: { left: 68, right: 18, top: 16, bottom: 52 },
    domain: { x: domain(x, log.x), y: domain(y, log.y) },
    intervals: allow(boxes.intervals, accuracy, "Neither axis is an accuracy"),
    look: looks(bySize || third === "" ? data.studies.length > 1 ? "study" : "" : third, bySize ? third : ""),
  });
  const outside = points.length - drawn.marks.size;
  byId("beyond").textContent = outside ? `${outside} ${outside === 1 ? "design lies" : "designs lie"} beyond` : "";
  legend(third, bySize, metric);
  drawBrush();
}

function legend(third, bySize, metric) {
  const box = byId("legend");
  box.replaceChildren();
  const entry = (kind, words) => {
    const item = place(box, "span");
    place(item, "i", { class: `key ${kind}` });
    item.append(words);
    return item;
  };
  if (data.studies.length > 1) data.studies.forEach((name, i) => entry(`dot kind-${i}`, name));
  else entry("dot front", `front of ${data.objectives.length} objectives`);
  entry("dot beaten", data.studies.length > 1 ? "small and pale: beaten" : "beaten");
  entry("step", "best of these two metrics");
  if (curvesOf(axis("x"), axis("y")).some(([, knee]) => knee >= 0)) entry("diamond", "knee: farthest below the chord of that line (Das 1999)");
  if (metric) {
    const all = valuesOf(Number(third));
    const words = `${metrics[third].caption} ${figure(third, Math.min(...all))} to ${quantity(third, Math.max(...all))}`;
    entry(bySize ? "growing" : "ramp", words);
  }
  const kinds = { datapath: data.datapaths, quantizer: data.quantizer_words }[third] || [];
  kinds.slice(0, KINDS).forEach((name, i) => entry(`dot kind-${i}`, name));
  if (data.datapaths.length > 1 && third !== "datapath") data.datapaths.slice(0, SHAPES.length).forEach((name, i) => shapeEntry(entry("shape", name), i));
}

function shapeEntry(item, index) {
  const svg = draw(item.firstChild, "svg", { viewBox: "-9 -9 18 18" });
  draw(svg, "path", { d: SHAPES[index](6) });
}

// The brush: what the ranges of the two metrics shown enclose

function drawBrush() {
  let box = plot.querySelector(".brush");
  const [x, y] = [ranges.get(axis("x")), ranges.get(axis("y"))];
  if (!box) box = draw(plot, "rect", { class: "brush" });
  box.setAttribute("visibility", x || y ? "visible" : "hidden");
  if (!x && !y) return;
  const [width, height] = plot.getAttribute("viewBox").split(" ").slice(2).map(Number);
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const span = (range, at, low, high) => (range ? range.map((value) => clamp(at(value), low, high)) : [low, high]).sort((a, b) => a - b);
  const finite = (value, fallback) => (Number.isFinite(value) ? value : fallback);
  const [left, right] = span(x, (value) => finite(drawn.across(value), value > 0 ? width : 68), 68, width - 18);
  const [top, bottom] = span(y, (value) => finite(drawn.up(value), value > 0 ? 16 : height - 52), 16, height - 52);
  Object.entries({ x: left, y: top, width: right - left, height: bottom - top }).forEach(([name, value]) => box.setAttribute(name, value.toFixed(1)));
}

function pointer(event) {
  const frame = plot.getBoundingClientRect();
  const [width, height] = plot.getAttribute("viewBox").split(" ").slice(2).map(Number);
  return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
}

function brush(from, to) {
  const sorted = (a, b) => [a, b].sort((p, q) => p - q);
  limit(axis("x"), sorted(drawn.across.invert(from[0]), drawn.across.invert(to[0])));
  limit(axis("y"), sorted(drawn.up.invert(from[1]), drawn.up.invert(to[1])));
  filter();
}

function unbrush() {
  ranges.delete(axis("x"));
  ranges.delete(axis("y"));
  filter();
}

function followPointer() {
  let from = null;
  let dragged = false;
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    from = pointer(event);
    dragged = false;
    if (event.pointerType !== "touch") plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (event) => {
    const at = pointer(event);
    if (from && event.pointerType !== "touch" && Math.hypot(at[0] - from[0], at[1] - from[1]) > 5) {
      dragged = true;
      brush(from, at);
    } else if (!from) light(drawn.nearest(...at, 26));
  });
  plot.addEventListener("pointerup", (event) => {
    const at = pointer(event);
    const start = from;
    from = null;
    if (!start || dragged) return;
    const near = drawn.nearest(...at, 26);
    if (near >= 0) {
      light(near);
      if (event.pointerType !== "touch") go(point_id(near));
    } else unbrush();
  });
  plot.addEventListener("pointercancel", () => { from = null; });
}

const point_id = (index) => `${byId(`point-${points[index].key}`) ? "point" : "row"}-${points[index].key}`;

// By keyboard: arrows walk through what is kept from left to right, Enter opens, Escape forgets the limits.
function followKeys(event) {
  const order = Array.from(kept).filter((i) => drawn.marks.has(i)).sort((a, b) => drawn.across(points[a].values[axis("x")]) - drawn.across(points[b].values[axis("x")]) || a - b);
  const front = order.filter((i) => points[i].front);
  const walk = event.shiftKey || !front.length ? order : front;
  const here = walk.indexOf(lit);
  const steps = { ArrowRight: here + 1, ArrowLeft: here < 0 ? walk.length - 1 : here - 1, Home: 0, End: walk.length - 1 };
  if (event.key in steps && walk.length) light(walk[Math.min(walk.length - 1, Math.max(0, steps[event.key]))]);
  else if (event.key === "Enter" && lit >= 0) go(point_id(lit));
  else if (event.key === "Escape") unbrush();
  else return;
  event.preventDefault();
}

function fillChoice(select, chosen, more) {
  more.concat(metrics.map((metric, index) => [index, title(metric)])).forEach(([value, text]) => place(select, "option", { value }, text));
  select.value = String(chosen);
}

function startExplorer() {
  const kinds = [["datapath", "Datapath", data.datapaths], ["quantizer", "Quantizer", data.quantizers]].filter(([, , all]) => all.length > 1);
  fillChoice(choice.x, data.axes[0], []);
  fillChoice(choice.y, data.axes[1], []);
  fillChoice(choice.third, data.studies.length > 1 ? "" : data.axes[2], [["", data.studies.length > 1 ? "Study" : "None"], ...kinds.map(([value, text]) => [value, text])]);
  boxes.closeUp.checked = points.some((_, i) => collapsed(i)) && points.some((_, i) => !collapsed(i));
  [...Object.values(choice), ...Object.values(boxes)].forEach((control) => control.addEventListener("change", drawPlot));
  narrow.addEventListener("change", drawPlot);
  followPointer();
  plot.addEventListener("keydown", followKeys);
  listeners.kept.push(() => { drawn.showKept(); drawBrush(); });
  listeners.lit.push(() => drawn.showLit());
  drawPlot();
  let width = plot.parentElement.clientWidth;
  new ResizeObserver(() => {
    if (plot.parentElement.clientWidth === width) return;
    width = plot.parentElement.clientWidth;
    drawPlot();
  }).observe(plot.parentElement);
}
