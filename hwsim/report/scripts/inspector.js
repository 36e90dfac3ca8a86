// The full configuration of the design under the pointer or the keyboard's focus; the knee's before anything is.

function startInspector() {
  const box = byId("inspector");

  function show(index) {
    const point = points[index];
    box.replaceChildren();
    const head = place(box, "p", { class: "who" });
    place(head, "b", {}, point.name);
    place(head, "span", { class: point.front ? "on" : "off" }, point.status);
    const list = place(box, "dl");
    const entry = (term, words) => {
      const row = place(list, "div");
      place(row, "dt", {}, term);
      place(row, "dd", {}, words);
    };
    const shown = Array.from(new Set([...data.objectives, ACCURACY]));
    shown.forEach((metric) => entry(metrics[metric].caption, quantity(metric, point.values[metric])));
    entry("95% interval", `${point.interval[0].toFixed(1)} to ${point.interval[1].toFixed(1)}%`);
    columns(point);
    entry("Datapath", data.datapaths[point.datapath]);
    entry("Quantizer", data.quantizers[point.quantizer]);
    const target = point_id(index);
    place(place(box, "p", { class: "steps" }), "a", { href: `#${target}` }, target.startsWith("point") ? "Explain this point" : "Its row in the table");
  }

  // A column a layer: weight bits upwards, activation bits downwards.
  function columns(point) {
    const bits = point.bits.map((place) => data.bits[place]).filter((widths) => widths.length);
    if (!bits.length) return;
    const svg = draw(place(box, "figure"), "svg", { viewBox: `0 0 ${10 * bits.length} 44`, preserveAspectRatio: "none", class: "columns", "aria-hidden": "true" });
    bits.forEach(([weight, activation], i) => {
      draw(svg, "rect", { class: "w", x: 10 * i + 1, width: 8, y: 22 - 2.5 * weight, height: 2.5 * weight });
      draw(svg, "rect", { class: "a", x: 10 * i + 1, width: 8, y: 24, height: 2.5 * activation });
    });
    place(box.lastChild, "figcaption", {}, "bits of weights upwards, of activations downwards, layer by layer");
    place(box, "p", { class: "bits" }, point.words);
  }

  const first = curvesOf(data.axes[0], data.axes[1]).map(([, knee]) => knee).find((knee) => knee >= 0);
  listeners.lit.push(() => { if (lit >= 0) show(lit); });
  show(first === undefined ? Math.max(0, points.findIndex((point) => point.front)) : first);
}
