// Designs in two metrics: the front, its step line and knee, what is kept, and a brush that limits both metrics.

const curvesOf = (x, y) => data.curves[`${Math.min(x, y)} ${Math.max(x, y)}`] || [];

function stepLine(ids, x, y, across, up) {
  const sorted = ids.slice().sort((a, b) => points[a].values[x] - points[b].values[x]);
  const lowerIsBetter = metrics[x].better === "lower";
  return sorted.reduce((path, id, i) => {
    const [px, py] = [across(points[id].values[x]).toFixed(1), up(points[id].values[y]).toFixed(1)];
    if (!i) return `M${px} ${py}`;
    return path + (lowerIsBetter ? `H${px}V${py}` : `V${py}H${px}`);
  }, "");
}

// Draw into an <svg>; returns what the views of the same state need to update it.
function scatter(svg, options) {
  const { x, y, width, height, margin, log, domain, small } = options;
  const look = options.look || looks("", "");
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const across = scale(domain.x, [margin.left, width - margin.right], log.x);
  const up = scale(domain.y, [height - margin.bottom, margin.top], log.y);
  const inside = (value, [low, high]) => value >= low && value <= high;
  const shown = Array.from(points.keys()).filter((i) => inside(points[i].values[x], domain.x) && inside(points[i].values[y], domain.y));
  if (!small) frame(svg, options, across, up);
  draw(draw(svg, "clipPath", { id: `${svg.id}-clip` }), "rect", {
    x: margin.left, y: margin.top, width: width - margin.left - margin.right, height: height - margin.top - margin.bottom,
  });
  const layer = draw(svg, "g", { "clip-path": `url(#${svg.id}-clip)` });
  curvesOf(x, y).forEach(([ids], study) => draw(layer, "path", { class: `curve study-${study}`, d: stepLine(ids, x, y, across, up) }));
  const marks = new Map();
  const size = small ? 2.6 : 5.5;
  const order = shown.slice().sort((a, b) => points[a].front - points[b].front);
  order.forEach((i) => {
    const point = points[i];
    const at = `translate(${across(point.values[x]).toFixed(1)} ${up(point.values[y]).toFixed(1)})`;
    if (options.intervals && point.front) interval(layer, options, point, across, up);
    const radius = (point.front ? size : 0.62 * size) * look.radius(i);
    const mark = draw(layer, "path", { class: point.front ? "mark front" : "mark", d: SHAPES[point.datapath % SHAPES.length](radius), transform: at });
    if (point.front || data.studies.length > 1) mark.style.setProperty("--fill", look.fill(i));
    marks.set(i, mark);
  });
  const knees = curvesOf(x, y).map(([, knee]) => knee).filter((knee) => marks.has(knee));
  const over = draw(svg, "g", { class: "over" });
  knees.forEach((knee, turn) => {
    const at = [across(points[knee].values[x]), up(points[knee].values[y])];
    draw(over, "path", { class: "knee", d: SHAPES[2](small ? 5 : 10.5), transform: `translate(${at.map((v) => v.toFixed(1)).join(" ")})` });
    if (!small) moveLabel(draw(over, "text", { class: "knee-name" }), `${points[knee].name}, the knee`, at, width, turn % 2);
  });
  const ring = draw(over, "path", { class: "ring", d: SHAPES[0](small ? 5 : 10), visibility: "hidden" });
  const name = small ? null : draw(over, "text", { class: "lit-name", visibility: "hidden" });

  function showKept() {
    marks.forEach((mark, i) => mark.classList.toggle("out", !kept.has(i)));
    svg.classList.toggle("filtered", kept.size < points.length);
  }

  function showLit() {
    const on = marks.has(lit);
    ring.setAttribute("visibility", on ? "visible" : "hidden");
    if (name) name.setAttribute("visibility", on ? "visible" : "hidden");
    if (!on) return;
    const at = [across(points[lit].values[x]), up(points[lit].values[y])];
    ring.setAttribute("transform", `translate(${at.map((v) => v.toFixed(1)).join(" ")})`);
    if (name) moveLabel(name, points[lit].name, at, width);
  }

  function nearest(px, py, reach) {
    let best = [-1, reach * reach];
    marks.forEach((mark, i) => {
      const away = (across(points[i].values[x]) - px) ** 2 + (up(points[i].values[y]) - py) ** 2;
      if (away < best[1] && kept.has(i)) best = [i, away];
    });
    return best[0];
  }

  showKept();
  showLit();
  return { across, up, nearest, showKept, showLit, marks };
}

function moveLabel(text, words, [px, py], width, below = 0) {
  const left = px > width - 110;
  text.textContent = words;
  text.setAttribute("x", (px + (left ? -14 : 14)).toFixed(1));
  text.setAttribute("y", (py + (below ? 22 : -9)).toFixed(1));
  text.setAttribute("text-anchor", left ? "end" : "start");
}

function interval(layer, options, point, across, up) {
  const share = (side) => [point.interval[0], point.interval[1]].map((bound) => (side === ACCURACY ? bound : point.values[ACCURACY] + point.values[LOSS] - bound));
  const [px, py] = [across(point.values[options.x]), up(point.values[options.y])];
  [["x", options.x], ["y", options.y]].forEach(([side, metric]) => {
    if (metric !== ACCURACY && metric !== LOSS) return;
    const [a, b] = share(metric).map(side === "x" ? across : up).map((value) => value.toFixed(1));
    draw(layer, "path", { class: "whisker", d: side === "x" ? `M${a} ${py.toFixed(1)}H${b}` : `M${px.toFixed(1)} ${a}V${b}` });
  });
}

function frame(svg, { x, y, width, height, margin }, across, up) {
  const grid = draw(svg, "g", { class: "grid" });
  const [left, bottom] = [margin.left, height - margin.bottom];
  across.ticks(Math.max(3, Math.floor((width - left) / 90))).forEach((tick) => {
    const px = across(tick).toFixed(1);
    draw(grid, "path", { d: `M${px} ${margin.top}V${bottom}` });
    draw(grid, "text", { x: px, y: bottom + 18, "text-anchor": "middle" }, number(tick));
  });
  up.ticks(Math.max(3, Math.floor((bottom - margin.top) / 55))).forEach((tick) => {
    const py = up(tick).toFixed(1);
    draw(grid, "path", { d: `M${left} ${py}H${width - margin.right}` });
    draw(grid, "text", { x: left - 8, y: Number(py) + 4, "text-anchor": "end" }, number(tick));
  });
  const better = (metric) => (metrics[metric].better ? `, ${metrics[metric].better} is better` : "");
  draw(svg, "text", { class: "axis-title", x: (left + width - margin.right) / 2, y: height - 8, "text-anchor": "middle" }, title(metrics[x]) + better(x));
  const turned = `translate(15 ${(margin.top + bottom) / 2}) rotate(-90)`;
  draw(svg, "text", { class: "axis-title", transform: turned, "text-anchor": "middle" }, title(metrics[y]) + better(y));
}
