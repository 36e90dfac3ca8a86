const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const WEIGHTS = { int: [], pow2x: [] };
for (const name of Object.keys(data.levels)) {
  const kind = name.startsWith("int") ? "int" : "pow2x";
  WEIGHTS[kind].push(Number(name.slice(kind.length)));
}
const distinct = (part) => [...new Set(Object.keys(data.choices).map(part))].sort((a, b) => a - b);
const ACTIVATIONS = distinct((key) => Number(key.split("*")[1].split("/")[0]));
const ACCUMULATORS = distinct((key) => Number(key.split("/")[1]));
const BASE = data.choices["int8*8/32/wrap"];
const visited = [];
let state;

const number = (value, digits = 0) =>
  value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits }).replace("-", "\u2212");
const percent = (value, base) => {
  const change = Math.round(100 * (value / base - 1));
  return change === 0 ? "as much" : `${number(Math.abs(change))}% ${change < 0 ? "less" : "more"}`;
};

function draw(id, height, paint) {
  const svg = find(id), width = svg.clientWidth;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);
  svg.replaceChildren();
  const add = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    svg.append(made);
    return made;
  };
  paint(add, width, height);
}
const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);

/* What the sum is by itself: from the operands alone, held against the circuit's values by the tests. */
function walked(weights, activations, sums) {
  const products = weights.map((w, k) => w * activations[k] + 0); // no minus zero
  const exact = [];
  products.reduce((total, p) => { exact.push(total + p); return total + p; }, 0);
  const over = sums.map((value, k) => value !== (k ? sums[k - 1] : 0) + products[k]);
  return { products, exact, over };
}

function chosen() {
  const form = find("controls"), kind = form.elements.format.value;
  const bits = WEIGHTS[kind];
  const slider = find("weight");
  slider.max = bits.length - 1;
  const weight = bits[Math.min(Number(slider.value), bits.length - 1)];
  const activation = ACTIVATIONS[Number(find("activation").value)];
  const accumulator = ACCUMULATORS[Number(find("accumulator").value)];
  const overflow = form.elements.overflow.value;
  const name = `${kind}${weight}`;
  const operands = data.operands[`${name}*${activation}`];
  const key = `${name}*${activation}/${accumulator}/${overflow}`;
  const choice = data.choices[key];
  return { name, weight, activation, accumulator, overflow, key, choice, operands,
    ...walked(operands.weight, operands.activation, choice.sum) };
}

function levels() {
  const found = data.levels[state.name];
  const most = Math.max(...found.counts);
  find("levels-said").textContent =
    `${found.codes.length} levels are in use. The weights are off by ${number(100 * found.error, 1)}% of their channel's largest, as a root mean square.`;
  draw("levels", 230, (add, width, height) => {
    const x = scale(-1.06, 1.06, 16, width - 16), floor = height - 30;
    const bins = Math.min(80, Math.floor(width / 9)), counts = Array(bins).fill(0);
    for (const w of data.weights) counts[Math.min(bins - 1, Math.floor(((w + 1) / 2) * bins))] += 1;
    const tall = Math.max(...counts), y = scale(0, tall, floor, 22);
    counts.forEach((count, k) => {
      const left = x(-1 + (2 * k) / bins), right = x(-1 + (2 * (k + 1)) / bins);
      add("rect", { class: "bar", x: left, y: y(count), width: Math.max(1, right - left - 1), height: floor - y(count) });
    });
    let end = 0;
    found.places.forEach((place, k) => {
      const top = scale(0, most, floor, 22)(found.counts[k]);
      add("line", { class: "level", x1: x(place), x2: x(place), y1: floor, y2: top });
      if (found.codes.length <= 40) add("circle", { class: "level-head", cx: x(place), cy: top, r: 3.5 });
      const said = number(found.codes[k]), half = 4 * said.length;
      if (found.codes.length > 16 || x(place) - half < end) return;
      add("text", { x: x(place), y: height - 10, "text-anchor": "middle" }, said);
      end = x(place) + half;
    });
    if (found.codes.length > 16) {
      for (const place of [-1, 0, 1]) {
        const code = place * Math.max(...found.codes);
        add("text", { x: x(place), y: height - 10, "text-anchor": "middle" }, number(code));
      }
    }
    add("line", { class: "grid", x1: 8, x2: width - 8, y1: floor, y2: floor });
  });
}

function walk() {
  const { choice, exact, over, accumulator } = state;
  const half = 2 ** (accumulator - 1), times = over.filter(Boolean).length;
  const last = choice.sum.at(-1), should = exact.at(-1);
  const said = find("walk-said");
  const verdict = document.createElement("span");
  verdict.className = times ? "said-over" : "said-safe";
  verdict.textContent = times
    ? `It leaves the range ${times === 1 ? "once" : `${number(times)} times`} and ends at ${number(last)} instead of ${number(should)}.`
    : `It never leaves the range and ends at ${number(last)}, the exact sum.`;
  said.replaceChildren(`An accumulator of ${accumulator} bits holds ${number(-half)} to ${number(half - 1)}. `, verdict);
  const svg = find("walk");
  svg.dataset.exact = exact.join(" ");
  svg.dataset.over = over.map(Number).join(" ");
  draw("walk", 300, (add, width, height) => {
    const all = [...choice.sum, ...exact, 0];
    const room = (Math.max(...all) - Math.min(...all)) * 0.09;
    const high = Math.min(Math.max(...all) + room, 3.2 * half), low = Math.max(Math.min(...all) - room, -3.2 * half);
    const x = scale(0, choice.sum.length, 64, width - 18), y = scale(low, high, height - 30, 14);
    const inside = (value) => Math.max(low, Math.min(high, value));
    const top = Math.min(high, half - 1), bottom = Math.max(low, -half);
    add("rect", { class: "band", x: x(0), width: x(choice.sum.length) - x(0), y: y(top), height: y(bottom) - y(top) });
    for (const edge of [half - 1, -half]) {
      if (edge > high || edge < low) continue;
      add("line", { class: "edge", x1: x(0), x2: x(choice.sum.length), y1: y(edge), y2: y(edge) });
      add("text", { x: x(0) - 8, y: y(edge) + 4, "text-anchor": "end" }, number(edge));
    }
    add("line", { class: "grid", x1: x(0), x2: x(choice.sum.length), y1: y(0), y2: y(0) });
    add("text", { x: x(0) - 8, y: y(0) + 4, "text-anchor": "end" }, "0");
    const step = [1, 2, 5].flatMap((m) => [m, 10 * m, 100 * m, 1000 * m]).sort((a, b) => a - b)
      .find((size) => choice.sum.length / size <= (width - 82) / 40);
    for (let k = step; k <= choice.sum.length; k += step) add("text", { x: x(k), y: height - 9, "text-anchor": "middle" }, k);
    const path = (values) => values.map((v, k) => `${k ? "" : `M${x(0)} ${y(0)}`}H${x(k + 1).toFixed(1)}V${y(inside(v)).toFixed(1)}`).join("");
    add("path", { class: "exact", d: path(exact) });
    add("path", { class: "sum", d: path(choice.sum) });
    over.forEach((out, k) => { if (out) add("circle", { class: "over", cx: x(k + 1), cy: y(choice.sum[k]), r: times > 40 ? 2.2 : 3.2 }); });
    const at = Number(find("cycle").value);
    add("line", { class: "cursor", x1: x(at), x2: x(at), y1: 10, y2: height - 26 });
    add("circle", { class: "at", cx: x(at), cy: y(choice.sum[at - 1]), r: 5 });
    const under = exact.slice(-24).map((v) => y(inside(v)));
    const above = Math.min(...under) - 8;
    add("text", { x: x(choice.sum.length), y: above > 14 ? above : Math.max(...under) + 18, "text-anchor": "end", class: "halo" }, `${times ? "exact sum" : "sum"} ${number(should)}`);
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect();
      const cycle = Math.round(((event.clientX - box.left - x(0)) / (x(choice.sum.length) - x(0))) * choice.sum.length);
      point(Math.max(1, Math.min(choice.sum.length, cycle)));
    };
  });
}

function point(cycle) {
  if (Number(find("cycle").value) === cycle) return;
  find("cycle").value = cycle;
  walk();
  wave();
}

function wave() {
  const { choice, operands, products, over } = state;
  const at = Number(find("cycle").value);
  find("cycle-number").textContent = at;
  draw("wave", 236, (add, width, height) => {
    const left = 104, lines = [operands.weight, operands.activation, products, choice.sum];
    const longest = Math.max(4, ...lines.flat().map((value) => number(value).length));
    const shown = Math.max(1, Math.min(13, choice.sum.length, Math.floor((width - left - 14) / (7 * longest + 16))));
    const first = Math.max(0, Math.min(choice.sum.length - shown, at - 1 - Math.floor(shown / 2)));
    const x = scale(0, shown, left, width - 14), row = (k) => 22 + k * 35;
    const names = ["clock", "weight", "activation", "product", "accumulator", "overflow"];
    names.forEach((name, k) => add("text", { x: left - 14, y: row(k) + 15, "text-anchor": "end", class: k === 4 ? "strong" : "" }, name));
    const clock = [];
    for (let k = 0; k < shown; k += 1) clock.push(`M${x(k)} ${row(0) + 20}V${row(0)}H${x(k + 0.5)}V${row(0) + 20}H${x(k + 1)}`);
    add("path", { class: "bus", d: clock.join("") });
    for (let k = 0; k < shown; k += 1) {
      const cycle = first + k, now = cycle === at - 1;
      lines.forEach((values, line) => {
        const y = row(line + 1), a = x(k), b = x(k + 1);
        const hot = line === 3 && over[cycle];
        add("path", { class: `bus${now ? " now" : ""}${hot ? " hot" : ""}`, d: `M${a} ${y + 10}L${a + 5} ${y}H${b - 5}L${b} ${y + 10}L${b - 5} ${y + 20}H${a + 5}Z` });
        add("text", { class: "value", x: (a + b) / 2, y: y + 14 }, number(values[cycle]));
      });
    }
    const high = (k) => (over[first + k] ? row(5) : row(5) + 20);
    let line = `M${x(0)} ${high(0)}`;
    for (let k = 0; k < shown; k += 1) line += `V${high(k)}H${x(k + 1)}`;
    add("path", { class: "bus hot", d: line });
    for (let k = 0; k < shown; k += 1) add("text", { x: (x(k) + x(k + 1)) / 2, y: 15, "text-anchor": "middle", class: first + k === at - 1 ? "strong" : "" }, first + k + 1);
  });
}

function circuit() {
  const { choice } = state, parts = Object.entries(choice.energy_fj);
  const total = (c) => Object.values(c.energy_fj).reduce((sum, part) => sum + part, 0);
  find("gates").textContent = number(choice.gates);
  find("gates-said").textContent = percent(choice.gates, BASE.gates);
  find("delay").textContent = `${number(choice.delay_ps)} ps`;
  find("delay-said").textContent = percent(choice.delay_ps, BASE.delay_ps);
  find("energy").textContent = `${number(total(choice))} fJ`;
  find("energy-said").textContent = percent(total(choice), total(BASE));
  draw("parts", find("parts").clientWidth < 460 ? 94 : 74, (add, width) => {
    const x = scale(0, Math.max(total(BASE), total(choice)), 14, width - 14);
    let from = 0, place = 14, line = 50;
    parts.forEach(([name, value], k) => {
      add("rect", { class: `part-${k}`, x: x(from), y: 14, width: Math.max(0, x(from + value) - x(from) - 1), height: 22, rx: 2 });
      from += value;
      const text = add("text", {}, `${name.replace("_", "-")} ${number(value)}`);
      const wide = 32 + text.getComputedTextLength();
      if (place + wide > width && k) [place, line] = [14, line + 20];
      text.setAttribute("x", place + 15);
      text.setAttribute("y", line + 9);
      add("rect", { class: `part-${k}`, x: place, y: line, width: 10, height: 10, rx: 2 });
      place += wide;
    });
  });
}

function network() {
  const { choice, key } = state, lost = (c) => (100 * (data.float_correct - c.correct)) / data.images;
  const loss = lost(choice);
  find("network-said").textContent =
    `It gets ${number(choice.correct)} of ${number(data.images)} test images right (${number((100 * choice.correct) / data.images, 1)}%; without quantization ` +
    `${number((100 * data.float_correct) / data.images, 1)}%) with ${number(choice.network_gates)} gates. ` +
    `${number(choice.overflowed)} of ${number(choice.sums)} sums overflow.`;
  if (!visited.some((seen) => seen.key === key)) visited.push({ key, x: choice.network_gates, y: loss });
  draw("pareto", 380, (add, width, height) => {
    const points = data.study.points;
    const gates = [...points.map((p) => p[1]), ...Object.values(data.choices).map((c) => c.network_gates)];
    const x = scale(Math.min(...gates) * 0.97, Math.max(...gates) * 1.02, 56, width - 20);
    const bend = (v) => Math.sign(v) * Math.log10(1 + Math.abs(v));
    const losses = [loss, ...points.map((p) => p[0]), ...Object.values(data.choices).map(lost)];
    const least = Math.min(-0.6, 1.2 * Math.min(...losses)), most = Math.max(...losses);
    const y = (v) => scale(bend(least), bend(1.1 * most + 2), height - 44, 40)(bend(v));
    for (const tick of [-30, -10, -3, -1, 0, 1, 3, 10, 30, 90].filter((value) => value >= least && value <= most)) {
      add("line", { class: "grid", x1: 56, x2: width - 20, y1: y(tick), y2: y(tick) });
      add("text", { x: 48, y: y(tick) + 4, "text-anchor": "end" }, number(tick));
    }
    const span = Math.max(...gates) - Math.min(...gates), decade = 10 ** Math.floor(Math.log10(span || 1));
    const step = [0.1, 0.2, 0.5, 1, 2, 5].map((size) => size * decade).find((size) => span / size <= (width - 76) / 90);
    for (let tick = Math.ceil(Math.min(...gates) / step) * step; tick < Math.max(...gates); tick += step) {
      add("text", { x: x(tick), y: height - 24, "text-anchor": "middle" }, number(tick));
    }
    add("text", { class: "strong", x: 56, y: height - 6 }, "gates of the whole network \u2192");
    add("text", { class: "strong", x: 56, y: 22 }, "\u2191 accuracy lost, percentage points");
    const front = points.filter((p) => p[2]).sort((a, b) => a[1] - b[1]);
    for (const p of points) add("circle", { class: p[2] ? "front-point" : "point", cx: x(p[1]), cy: y(p[0]), r: p[2] ? 3.4 : 3 });
    add("path", { class: "front", d: front.map((p, k) => (k ? `H${x(p[1])}V${y(p[0])}` : `M${x(p[1])} ${y(p[0])}`)).join("") });
    for (const seen of visited) add("circle", { class: "visited", cx: x(seen.x), cy: y(seen.y), r: 5 });
    add("circle", { class: "here", cx: x(choice.network_gates), cy: y(loss), r: 8 });
    const right = x(choice.network_gates) > width * 0.7;
    add("text", { class: "warn", x: x(choice.network_gates) + (right ? -14 : 14), y: y(loss) + 4, "text-anchor": right ? "end" : "start" }, "this choice");
  });
}

function update(first = false) {
  state = chosen();
  find("weight-bits").textContent = state.weight;
  find("activation-bits").textContent = state.activation;
  find("accumulator-bits").textContent = state.accumulator;
  find("choice").textContent = `${state.name}*${data.signed ? "int" : "uint"}${state.activation}/int${state.accumulator}${state.overflow === "wrap" ? "" : "/saturate"}`;
  document.body.dataset.choice = state.key;
  const over = state.over.findIndex(Boolean);
  if (first || over >= 0) find("cycle").value = over >= 0 ? over + 1 : Math.ceil(state.choice.sum.length / 2);
  levels(); walk(); wave(); circuit(); network();
}

function image() {
  const canvas = find("image"), context = canvas.getContext("2d"), most = Math.max(1, ...data.image.flat(2));
  [canvas.width, canvas.height] = [data.image[0].length, data.image.length];
  data.image.forEach((row, y) => row.forEach((value, x) => {
    const grey = Math.round(255 - (235 * value) / most);
    context.fillStyle = `rgb(${Array.isArray(value) ? value : [grey, grey, grey]})`;
    context.fillRect(x, y, 1, 1);
  }));
}

function facts() {
  const { study, place: [channel, row, column] } = data, sum = Object.values(data.choices)[0].sum.length;
  const said = {
    label: data.label, technology: data.technology, study: study.title, points: number(study.points.length),
    model: data.model, layer: data.layer, products: number(sum), weights: number(data.levels.int8.counts.reduce((a, b) => a + b)),
    shown: data.scores ? `its score for class ${channel}` : `output ${channel} of the layer at row ${row}, column ${column}`,
    chose: study.explored ? "designs" : "choices of this page", bits: study.explored ? ", which chose them layer by layer" : "",
  };
  for (const [id, text] of Object.entries(said)) find(id).textContent = text;
  find("walk").setAttribute("aria-label", `the accumulator after each of ${number(sum)} products; arrow keys move along it`);
  find("cycle").max = sum;
}

function stamp() {
  const line = (list, ...cells) => {
    const row = document.createElement(list === "stamp" ? "div" : "li");
    for (const [tag, text] of cells) row.append(Object.assign(document.createElement(tag), { textContent: text }));
    find(list).append(row);
  };
  for (const command of data.study.commands) line("commands", ["code", command]);
  for (const [what, which] of Object.entries(data.stamp)) line("stamp", ["dt", what], ["dd", which]);
}

find("controls").addEventListener("input", () => update());
find("controls").addEventListener("submit", (event) => event.preventDefault());
find("cycle").addEventListener("input", () => { walk(); wave(); });
find("walk").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) { event.preventDefault(); point(Math.max(1, Math.min(state.choice.sum.length, Number(find("cycle").value) + by))); }
});
window.addEventListener("resize", () => update());
image();
facts();
stamp();
find("accumulator").max = ACCUMULATORS.length - 1;
find("activation").max = ACTIVATIONS.length - 1;
update(true);
