// Limits on the objectives as numbers, words to find, and what is in force: the same ranges that brushes set.

function startLimits() {
  const find = byId("find");
  const frontOnly = byId("front-only");
  const inputs = Array.from(document.querySelectorAll("#limits input[data-limit]"));

  const texts = rows.map((row, i) => `${row.textContent} ${data.datapaths[points[i].datapath]} ${data.quantizers[points[i].quantizer]}`.toLowerCase());

  function read(input) {
    const metric = metricIndex(input.dataset.limit);
    const value = input.value === "" ? null : Number(input.value);
    const other = ranges.get(metric) || [-Infinity, Infinity];
    if (value === null || Number.isNaN(value)) limit(metric, null);
    else limit(metric, metrics[metric].better === "lower" ? [Math.min(other[0], value), value] : [value, Math.max(other[1], value)]);
    filter();
  }

  function write() {
    inputs.filter((input) => input !== document.activeElement).forEach((input) => {
      const metric = metricIndex(input.dataset.limit);
      const range = ranges.get(metric);
      const bound = range && (metrics[metric].better === "lower" ? range[1] : range[0]);
      input.value = range && Number.isFinite(bound) ? Number(bound.toPrecision(5)) : "";
    });
    const words = kept.size === points.length ? `all ${points.length} designs` : `${kept.size} of ${points.length} designs kept, ${points.filter((point, i) => point.front && kept.has(i)).length} of them on the front`;
    byId("count").textContent = words;
    byId("clear").disabled = kept.size === points.length && !ranges.size;
    chips();
  }

  function chips() {
    const box = byId("in-force");
    box.replaceChildren();
    ranges.forEach(([low, high], metric) => {
      const bounds = !Number.isFinite(low) ? `at most ${figure(metric, high)}` : !Number.isFinite(high) ? `at least ${figure(metric, low)}` : `${figure(metric, low)} to ${figure(metric, high)}`;
      const chip = place(box, "button", { type: "button", class: "chip" }, `${metrics[metric].caption} ${bounds} \u00d7`);
      chip.setAttribute("aria-label", `Remove the limit: ${metrics[metric].caption} ${bounds}`);
      chip.addEventListener("click", () => { ranges.delete(metric); filter(); });
    });
  }

  function findWords() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    wanted.text = (index) => words.every((word) => texts[index].includes(word));
    wanted.frontOnly = frontOnly.checked;
    filter();
  }

  inputs.forEach((input) => input.addEventListener("input", () => read(input)));
  [find, frontOnly].forEach((control) => control.addEventListener("input", findWords));
  byId("clear").addEventListener("click", () => {
    ranges.clear();
    find.value = "";
    frontOnly.checked = false;
    inputs.forEach((input) => { input.value = ""; });
    findWords();
  });
  listeners.kept.push(write);
  findWords();
}
