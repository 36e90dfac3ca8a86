// Every pair of objectives as a small plot, all alike; one opens in the large plot.

function startMultiples() {
  const box = byId("multiples");
  const pairs = [];
  data.objectives.forEach((first, i) => data.objectives.slice(i + 1).forEach((second) => pairs.push([second, first])));
  const views = pairs.map(([x, y], i) => {
    const button = place(box, "button", { type: "button", class: "multiple" });
    place(button, "span", {}, `${metrics[y].caption} against ${metrics[x].caption.toLowerCase()}`);
    const svg = draw(button, "svg", { id: `multiple-${i}`, "aria-hidden": "true" });
    button.addEventListener("click", () => {
      choice.x.value = x;
      choice.y.value = y;
      drawPlot();
      plot.focus({ preventScroll: true });
      plot.scrollIntoView({ block: "nearest" });
    });
    const inside = (metric) => extent(valuesOf(metric).filter((_, k) => !isAccuracy(metric) || !boxes.closeUp.checked || !collapsed(k)), false, 0.07);
    const view = scatter(svg, {
      x, y, width: 200, height: 120, small: true, margin: { left: 3, right: 3, top: 3, bottom: 3 },
      log: {}, domain: { x: inside(x), y: inside(y) }, look: looks(data.studies.length > 1 ? "study" : "", ""),
    });
    return { view, button, x, y };
  });
  const current = () => views.forEach(({ button, x, y }) => button.setAttribute("aria-pressed", String(axis("x") === x && axis("y") === y)));
  [choice.x, choice.y].forEach((select) => select.addEventListener("change", current));
  box.addEventListener("click", current);
  listeners.kept.push(() => views.forEach(({ view }) => view.showKept()));
  listeners.lit.push(() => views.forEach(({ view }) => view.showLit()));
  current();
}
