// Small tools for drawing in SVG; text is only ever set as text.

function draw(parent, tag, attributes = {}, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

function place(parent, tag, attributes = {}, text = "") {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

// Marks of one area, one shape a datapath.
const SHAPES = [
  (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  (r) => `M${-0.9 * r} ${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}Z`,
  (r) => `M0 ${-1.3 * r}L${1.3 * r} 0L0 ${1.3 * r}L${-1.3 * r} 0Z`,
  (r) => `M0 ${-1.25 * r}L${1.2 * r} ${0.9 * r}H${-1.2 * r}Z`,
  (r) => `M0 ${1.25 * r}L${1.2 * r} ${-0.9 * r}H${-1.2 * r}Z`,
  (r) => `M${-0.4 * r} ${-1.2 * r}h${0.8 * r}v${0.8 * r}h${0.8 * r}v${0.8 * r}h${-0.8 * r}v${0.8 * r}h${-0.8 * r}v${-0.8 * r}h${-0.8 * r}v${-0.8 * r}h${0.8 * r}Z`,
];
const KINDS = 6; // colours of things without an order, --kind-0 to --kind-5

// How a point looks: its colour by study, by a kind or along a metric; its size along a metric.
function looks(colour, size) {
  const fraction = (metric) => {
    const all = valuesOf(metric);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    return (index) => (high > low ? (all[index] - low) / (high - low) : 0.5);
  };
  const radius = size === "" ? () => 1 : ((share) => (index) => 0.65 + 1.15 * Math.sqrt(share(index)))(fraction(Number(size)));
  const fill = (() => {
    if (colour === "study") return (index) => `var(--kind-${points[index].study % KINDS})`;
    if (colour === "datapath" || colour === "quantizer") return (index) => `var(--kind-${points[index][colour] % KINDS})`;
    if (colour === "") return () => "var(--accent)";
    const share = fraction(Number(colour));
    return (index) => `color-mix(in oklab, var(--ramp-high) ${(100 * share(index)).toFixed(1)}%, var(--ramp-low))`;
  })();
  return { fill, radius };
}
