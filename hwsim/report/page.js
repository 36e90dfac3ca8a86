"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { metrics, points } = data;
  const find = (id) => document.getElementById(id);
  const plot = find("plot");
  const tbody = document.querySelector("#designs tbody");
  const rows = Array.from(tbody.rows);
  const heads = Array.from(document.querySelectorAll("#designs thead th"));
  const indices = new Map(rows.map((row, i) => [row, i]));
  const kept = new Set(points.keys());
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 48rem)");
  const metricIndex = (name) => metrics.findIndex((metric) => metric.name === name);
  const byMetric = Object.fromEntries(["accuracy", "accuracy_loss"].map((name) => [name, metricIndex(name)]));

  // Plotly reads tags and entities in labels: what comes from files is escaped before it.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const BITS = { w: "weights", a: "activations", acc: "accumulators" };
  const hover = points.map((point, i) => hoverText(point, i).map(plain).join("<br>").replace(/ /g, "\u00a0"));

  function quantity(i, metric) {
    const { name, unit } = metrics[metric];
    const column = heads.findIndex((head) => head.dataset.sort === name);
    return `${rows[i].cells[column].textContent.trim()}${unit === "%" || unit === "\u00d7" ? "" : " "}${unit}`;
  }

  function hoverText(point, i) {
    const wide = (text) => text.padEnd(18);
    const [low, high] = point.interval;
    return [
      `${point.name}  ${rows[i].cells[1].textContent}`,
      ...rows[i].querySelector(".bits").textContent.split(" \u00b7 ").map((text) => text.replace(/^(w|a|acc) /, (short) => wide(BITS[short.trim()]))),
      ...data.objectives.map((metric) => wide(metrics[metric].caption.toLowerCase()) + quantity(i, metric)),
      `${wide("accuracy")}${quantity(i, byMetric.accuracy)}  [${low.toFixed(1)}, ${high.toFixed(1)}]`,
      `${wide("datapath")}${data.datapaths[point.datapath]}`,
    ];
  }

  // Controls of the plot

  const choice = { x: find("axis-x"), y: find("axis-y"), colour: find("axis-colour") };
  const log = { x: find("log-x"), y: find("log-y") };
  const intervals = find("intervals");
  const closeUp = find("close-up");
  const collapsed = (i) => points[i].values[byMetric.accuracy_loss] > data.close_up;

  function fill(select, chosen, more) {
    metrics.map((metric, index) => [index, title(metric)]).concat(more).forEach(([value, text]) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = text;
      select.append(option);
    });
    select.value = String(chosen);
  }

  const title = (metric) => `${metric.caption} (${metric.unit})`;
  const values = (index) => points.map((point) => point.values[index]);
  const axisOf = (side) => Number(choice[side].value);
  const isAccuracy = (index) => index === byMetric.accuracy || index === byMetric.accuracy_loss;

  function allow(box, allowed, why) {
    box.disabled = !allowed;
    box.parentElement.title = allowed ? "" : why;
    return allowed && box.checked;
  }

  // The plot

  const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39"];
  const KINDS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a929c"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "pentagon", "hexagon"];

  const paint = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function colours(ids) {
    const chosen = choice.colour.value;
    if (chosen === "none") return { color: paint("mac") };
    if (chosen === "datapath" || chosen === "quantizer") {
      return { color: ids.map((i) => KINDS[points[i][chosen] % KINDS.length]) };
    }
    const all = values(Number(chosen));
    const scale = dark.matches && !printing ? VIRIDIS.slice(1) : VIRIDIS.slice(0, -1);
    return {
      color: ids.map((i) => all[i]),
      cmin: Math.min(...all),
      cmax: Math.max(...all),
      colorscale: scale.map((colour, i) => [i / (scale.length - 1), colour]),
    };
  }

  function colourBar() {
    const chosen = metrics[choice.colour.value];
    if (!chosen) return {};
    const label = { text: plain(title(chosen)), side: narrow.matches ? "top" : "right", font: { size: 12 } };
    const flat = { orientation: "h", y: -0.24, yanchor: "top", len: 0.9, thickness: 9 };
    const upright = { len: 0.85, thickness: 12, x: 1.01 };
    return { showscale: true, colorbar: { title: label, outlinewidth: 0, tickformat: ",.4~g", ...(narrow.matches ? flat : upright) } };
  }

  function errorBars(index, ids) {
    const sign = metrics[index].name === "accuracy" ? 1 : -1;
    const upper = ids.map((i) => points[i].interval[1] - points[i].values[byMetric.accuracy]);
    const lower = ids.map((i) => points[i].values[byMetric.accuracy] - points[i].interval[0]);
    return {
      type: "data", symmetric: false, thickness: 1.2, width: 3, color: paint("soft"),
      array: sign > 0 ? upper : lower, arrayminus: sign > 0 ? lower : upper,
    };
  }

  function marks(ids, x, y, style) {
    return {
      type: "scatter", mode: "markers", customdata: ids, hoverinfo: "text",
      x: ids.map((i) => points[i].values[x]),
      y: ids.map((i) => points[i].values[y]),
      hovertext: ids.map((i) => hover[i]),
      ...style,
      marker: {
        symbol: ids.map((i) => SYMBOLS[points[i].datapath % SYMBOLS.length]),
        ...colours(ids), ...style.marker,
      },
    };
  }

  const curveOf = (x, y) => data.curves[`${Math.min(x, y)} ${Math.max(x, y)}`] || [[], -1];

  function line(x, y) {
    const [ids] = curveOf(x, y);
    const sorted = ids.filter((i) => kept.has(i)).sort((a, b) => points[a].values[x] - points[b].values[x]);
    const joined = sorted.length > 1;
    return {
      type: "scatter", mode: "lines", hoverinfo: "skip", name: "best of these two metrics", showlegend: joined,
      x: joined ? sorted.map((i) => points[i].values[x]) : [],
      y: joined ? sorted.map((i) => points[i].values[y]) : [],
      line: { color: paint("accent"), width: 1.6, shape: metrics[x].better === "lower" ? "hv" : "vh" },
    };
  }

  function ring(ids, x, y, style) {
    return {
      type: "scatter", mode: "markers", hoverinfo: "skip",
      x: ids.map((i) => points[i].values[x]),
      y: ids.map((i) => points[i].values[y]),
      ...style,
    };
  }

  // Legend entries of a choice that is no metric: which shape or colour means what.
  function key(kind, look) {
    const names = { datapath: data.datapaths, quantizer: data.quantizer_words }[kind] || [];
    const shown = names.length > 1 ? names : [];
    return shown.map((name, i) => ({
      type: "scatter", mode: "markers", x: [null], y: [null], hoverinfo: "skip",
      name: plain(name.length > 48 ? `${name.slice(0, 47)}\u2026` : name),
      marker: { size: 10, color: paint("soft"), ...look(i) },
    }));
  }

  function logTicks(all) {
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const steps = high > 1000 * low ? [1] : high > 10 * low || narrow.matches ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
    const decades = [];
    for (let e = Math.floor(Math.log10(low)) - 1; e <= Math.log10(high) + 1; e += 1) decades.push(10 ** e);
    const ticks = decades.flatMap((decade) => steps.map((step) => step * decade));
    return { tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en", { maximumSignificantDigits: 3 })) };
  }

  function axis(side, index) {
    const metric = metrics[index];
    const useLog = allow(log[side], values(index).every((value) => value > 0), "Some values are zero or below");
    return {
      title: { text: `${plain(title(metric))} · ${metric.better} is better`, font: { size: 13 }, standoff: 12 },
      type: useLog ? "log" : "linear",
      gridcolor: paint("line"), zerolinecolor: paint("line"), linecolor: paint("soft"),
      automargin: true, tickformat: ",.6~g", nticks: narrow.matches ? 6 : 10,
      ...(useLog ? logTicks(values(index)) : {}),
      ...(closeUp.checked && !closeUp.disabled && isAccuracy(index) && !useLog ? { range: closeRange(index) } : {}),
    };
  }

  // The part of an accuracy axis up to a loss of data.close_up points, for networks whose fewest bits collapse.
  function closeRange(index) {
    const inside = Array.from(kept).filter((i) => !collapsed(i)).map((i) => points[i].values[index]);
    const [low, high] = [Math.min(...inside), Math.max(...inside)];
    const margin = 0.06 * (high - low) + 0.2;
    if (metrics[index].better === "lower") return [low - margin, data.close_up];
    const [floating] = points.map((point) => point.values[byMetric.accuracy] + point.values[byMetric.accuracy_loss]);
    return [floating - data.close_up, high + margin];
  }

  function tellBeyond(x, y) {
    const inside = Array.from(kept).some((i) => !collapsed(i));
    const useful = allow(closeUp, inside && (isAccuracy(x) || isAccuracy(y)), "Neither axis is an accuracy");
    const count = useful ? Array.from(kept).filter(collapsed).length : 0;
    find("beyond").textContent = count ? `${count} ${count === 1 ? "design lies" : "designs lie"} beyond` : "";
  }

  const HIGHLIGHT = 4;
  let printing = false;
  let highlighted = -1;

  function draw() {
    const x = axisOf("x");
    const y = axisOf("y");
    const ids = Array.from(kept);
    tellBeyond(x, y);
    const front = ids.filter((i) => points[i].front);
    const beaten = ids.filter((i) => !points[i].front);
    const bend = curveOf(x, y)[1];
    const knees = kept.has(bend) ? [bend] : [];
    const bars = allow(intervals, isAccuracy(x) || isAccuracy(y), "Neither axis is an accuracy");
    const bar = (index) => (bars && isAccuracy(index) ? errorBars(index, front) : { visible: false });
    const traces = [
      marks(beaten, x, y, { name: "beaten", opacity: 0.32, marker: { size: 7 } }),
      line(x, y),
      marks(front, x, y, {
        name: `on the front of all ${data.objectives.length} objectives`, error_x: bar(x), error_y: bar(y),
        marker: { size: 11, line: { color: paint("card"), width: 1.2 }, ...colourBar() },
      }),
      ring(knees, x, y, {
        name: knees.length ? `knee: ${points[bend].name}` : "", showlegend: knees.length > 0,
        marker: { symbol: "diamond-open", size: 21, color: paint("warn"), line: { width: 2.2 } },
      }),
      ring(highlighted < 0 ? [] : [highlighted], x, y, {
        showlegend: false, marker: { symbol: "circle-open", size: 22, color: paint("ink"), line: { width: 2.5 } },
      }),
      ...key(choice.colour.value === "datapath" ? "" : "datapath", (i) => ({ symbol: SYMBOLS[i % SYMBOLS.length] })),
      ...key(choice.colour.value, (i) => ({ color: KINDS[i % KINDS.length], symbol: choice.colour.value === "datapath" ? SYMBOLS[i % SYMBOLS.length] : "circle" })),
    ];
    Plotly.react(plot, traces, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: paint("ink") },
      margin: narrow.matches ? { l: 8, r: 12, t: 12, b: 8 } : { l: 20, r: 20, t: 20, b: 20 },
      xaxis: axis("x", x), yaxis: axis("y", y),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } },
      hoverlabel: {
        bgcolor: paint("card"), bordercolor: paint("soft"), align: "left",
        font: { family: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace", size: 12, color: paint("ink") },
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: paint("soft"), activecolor: paint("accent") },
      hovermode: "closest", dragmode: narrow.matches ? false : "zoom", uirevision: `${x} ${y} ${log.x.checked} ${log.y.checked} ${closeUp.checked}`,
    }, { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] });
  }

  function highlight(index) {
    if (index === highlighted) return;
    highlighted = index;
    const at = (side) => [index < 0 ? [] : [points[index].values[axisOf(side)]]];
    Plotly.restyle(plot, { x: at("x"), y: at("y") }, [HIGHLIGHT]);
  }

  function startPlot() {
    fill(choice.x, data.axes[0], []);
    fill(choice.y, data.axes[1], []);
    fill(choice.colour, data.axes[2], [["datapath", "Datapath"], ["quantizer", "Quantizer"], ["none", "One colour"]]);
    find("controls").hidden = false;
    plot.hidden = false;
    closeUp.checked = points.some((_, i) => collapsed(i)) && points.some((_, i) => !collapsed(i));
    [...Object.values(choice), ...Object.values(log), intervals, closeUp].forEach((c) => c.addEventListener("change", draw));
    [dark, narrow].forEach((query) => query.addEventListener("change", draw));
    draw();
    plot.on("plotly_hover", (event) => light(event.points[0].customdata));
    plot.on("plotly_unhover", () => light(-1));
    plot.on("plotly_click", (event) => {
      const point = points[event.points[0].customdata];
      go(`${point.front ? "point" : "row"}-${point.key}`);
    });
  }

  // The table: sorting, filtering, highlighting

  const indexOf = (row) => indices.get(row);

  function light(index) {
    rows.forEach((row) => row.classList.toggle("lit", indexOf(row) === index));
  }

  function sortKey(kind, column) {
    if (kind === "name") return (row) => indexOf(row);
    if (kind === "status") return (row) => 1 - points[indexOf(row)].front;
    if (kind === "text") return (row) => row.cells[column].textContent;
    return (row) => points[indexOf(row)].values[metricIndex(kind)];
  }

  function sort(head) {
    const descending = head.getAttribute("aria-sort") === "ascending";
    const key = sortKey(head.dataset.sort, head.cellIndex);
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
    const sorted = rows.slice().sort((a, b) => (descending ? -1 : 1) * compare(key(a), key(b)) || indexOf(a) - indexOf(b));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    tbody.append(...sorted);
  }

  function filter() {
    const words = find("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const minimum = Number(find("minimum").value) || 0;
    rows.forEach((row) => {
      const point = points[indexOf(row)];
      const text = `${row.textContent} ${data.datapaths[point.datapath]} ${data.quantizers[point.quantizer]}`.toLowerCase();
      const shown = (!find("front-only").checked || point.front) &&
        point.values[byMetric.accuracy] >= minimum && words.every((word) => text.includes(word));
      row.hidden = !shown;
      if (shown) kept.add(indexOf(row));
      else kept.delete(indexOf(row));
    });
    find("count").textContent = `${kept.size} of ${rows.length}`;
    if (plot.data) draw();
  }

  function startTable() {
    heads.forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(head));
    });
    rows.forEach((row) => {
      row.addEventListener("mouseenter", () => highlight(indexOf(row)));
      row.addEventListener("focusin", () => highlight(indexOf(row)));
    });
    tbody.addEventListener("mouseleave", () => highlight(-1));
    ["find", "front-only", "minimum"].forEach((id) => find(id).addEventListener("input", filter));
    find("filters").hidden = false;
    filter();
  }

  // Sections, links and commands

  // A bar's parts in words: its custom properties are running sums.
  function explain(cell) {
    const names = cell.className === "g" ? data.parts : data.traffic;
    let before = 0;
    const words = names.flatMap((name, i) => {
      const stop = Number(cell.style.getPropertyValue(`--${"abcdef"[i]}`)) || before;
      const size = stop - before;
      before = stop;
      return size ? [`${name.replace("_", " ")} ${size.toLocaleString("en")}`] : [];
    });
    cell.title = words.join(", ");
  }

  function reveal() {
    const target = find(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.tagName === "DETAILS") target.open = true;
    document.querySelectorAll("tr.lit").forEach((row) => row.classList.remove("lit"));
    if (target.tagName === "TR") {
      target.hidden = false;
      target.classList.add("lit");
    }
    target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" });
    const focus = target.querySelector("summary");
    if (focus) focus.focus({ preventScroll: true });
  }

  function go(id) {
    if (location.hash === `#${id}`) reveal();
    else location.hash = id;
  }

  function copy(code, button) {
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    const done = () => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, () => document.execCommand("copy") && done());
    else if (document.execCommand("copy")) done();
  }

  function startSections() {
    const all = Array.from(document.querySelectorAll("details"));
    const sections = Array.from(document.querySelectorAll("details.point"));
    document.querySelectorAll(".command").forEach((box) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.addEventListener("click", () => copy(box.querySelector("code"), button));
      box.append(button);
    });
    if (sections.length) {
      find("folding").hidden = false;
      find("open-all").addEventListener("click", () => sections.forEach((s) => { s.open = true; }));
      find("close-all").addEventListener("click", () => sections.forEach((s) => { s.open = false; }));
    }
    let before = [];
    addEventListener("beforeprint", () => {
      before = all.filter((s) => !s.open);
      all.forEach((s) => { s.open = true; });
      printing = true;
      if (points.length) draw();
    });
    addEventListener("afterprint", () => {
      before.forEach((s) => { s.open = false; });
      printing = false;
      if (points.length) draw();
    });
    document.addEventListener("pointerover", (event) => {
      if (event.target.matches && event.target.matches("td.g, td.t")) explain(event.target);
    });
    addEventListener("hashchange", reveal);
    // A second click on a link to the same place opens it again.
    document.addEventListener("click", (event) => {
      const link = event.target.closest && event.target.closest("a[href^='#']");
      if (link && link.hash === location.hash) reveal();
    });
    reveal();
  }

  startTable();
  if (points.length) startPlot();
  startSections();
})();
