// All metrics side by side, a line a design, the better end of every axis up; dragging along an axis limits it.

const parallel = byId("parallel");

function startParallel() {
  const shown = data.parallel;
  const height = 322;
  const [top, bottom] = [70, height - 28];
  let view = null;

  const better = (metric) => metrics[metric].better !== "lower";

  // Words in two lines, parted at the space nearest to the middle.
  function halves(words) {
    const spaces = Array.from(words.matchAll(/ /g), (found) => found.index);
    const middle = spaces.sort((a, b) => Math.abs(a - words.length / 2) - Math.abs(b - words.length / 2))[0];
    return middle === undefined ? ["", words] : [words.slice(0, middle), words.slice(middle + 1)];
  }

  function drawLines() {
    const width = Math.max(90 * shown.length, parallel.parentElement.clientWidth - 2);
    parallel.replaceChildren();
    parallel.setAttribute("viewBox", `0 0 ${width} ${height}`);
    parallel.setAttribute("width", width);
    parallel.setAttribute("height", height);
    const gap = width / shown.length;
    const axes = shown.map((metric, i) => {
      const all = valuesOf(metric);
      const [low, high] = [Math.min(...all), Math.max(...all)];
      return { metric, x: gap * (i + 0.5), at: scale([low, high], better(metric) ? [bottom, top] : [top, bottom], false), low, high };
    });
    const lines = points.map((point, i) => {
      const d = axes.map(({ metric, x, at }, k) => `${k ? "L" : "M"}${x.toFixed(1)} ${at(point.values[metric]).toFixed(1)}`).join("");
      const line = draw(parallel, "path", { class: point.front ? "line front" : "line", d });
      if (data.studies.length > 1) line.style.setProperty("--fill", `var(--kind-${point.study % KINDS})`);
      return [i, line];
    });
    lines.filter(([i]) => points[i].front).forEach(([, line]) => parallel.append(line));
    const over = draw(parallel, "path", { class: "line lit", d: "" });
    axes.forEach((one) => drawAxis(one, gap));
    view = { axes, lines: new Map(lines), over };
    showKept();
    showLit();
  }

  function drawAxis({ metric, x, at, low, high }, gap) {
    const group = draw(parallel, "g", { class: "axis", "data-metric": metrics[metric].name });
    draw(group, "path", { class: "rod", d: `M${x} ${top}V${bottom}` });
    const words = metrics[metric].caption;
    const lines = 7.2 * words.length < gap ? ["", words] : halves(words);
    lines.forEach((line, i) => line && draw(group, "text", { class: "axis-title", x, y: 16 + 14 * i, "text-anchor": "middle" }, line));
    draw(group, "text", { class: "unit", x, y: 45, "text-anchor": "middle" }, metrics[metric].unit);
    [low, high].forEach((value) => draw(group, "text", { x, y: at(value) + (at(value) > height / 2 ? 17 : -6), "text-anchor": "middle" }, figure(metric, value)));
    draw(group, "rect", { class: "range", x: x - 7, width: 14, y: top, height: 0 });
    const hold = draw(group, "rect", { class: "hold", x: x - Math.min(22, gap / 2), y: top - 8, width: Math.min(44, gap), height: bottom - top + 16 });
    let from = null;
    const along = (event) => {
      const frame = parallel.getBoundingClientRect();
      return Math.min(bottom, Math.max(top, ((event.clientY - frame.top) / frame.height) * height));
    };
    hold.addEventListener("pointerdown", (event) => { from = along(event); hold.setPointerCapture(event.pointerId); });
    hold.addEventListener("pointermove", (event) => {
      if (from === null || Math.abs(along(event) - from) < 3) return;
      limit(metric, [at.invert(from), at.invert(along(event))].sort((a, b) => a - b));
      filter();
    });
    hold.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(along(event) - from) < 3) { ranges.delete(metric); filter(); }
      from = null;
    });
    hold.addEventListener("pointercancel", () => { from = null; });
  }

  function showKept() {
    view.lines.forEach((line, i) => line.classList.toggle("out", !kept.has(i)));
    view.axes.forEach(({ metric, at }) => {
      const box = parallel.querySelector(`[data-metric="${metrics[metric].name}"] .range`);
      const range = ranges.get(metric);
      const [a, b] = range ? range.map((value) => Math.min(bottom, Math.max(top, at(value)))).sort((p, q) => p - q) : [top, top];
      box.setAttribute("y", a);
      box.setAttribute("height", b - a);
    });
  }

  function showLit() {
    view.over.setAttribute("d", lit < 0 ? "" : view.lines.get(lit).getAttribute("d"));
  }

  listeners.kept.push(showKept);
  listeners.lit.push(showLit);
  drawLines();
  new ResizeObserver(() => {
    if (Math.abs(parallel.parentElement.clientWidth - 2 - parallel.clientWidth) > 1) drawLines();
  }).observe(parallel.parentElement);
}
