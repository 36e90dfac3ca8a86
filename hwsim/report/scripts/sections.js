// The points' sections: opening what a link names, copying commands, opening all of them for print.

function reveal() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  if (target.tagName === "TR") {
    target.hidden = false;
    light(indexOf(target));
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
  const sections = all.filter((section) => section.classList.contains("point"));
  document.querySelectorAll(".command").forEach((box) => {
    const button = place(box, "button", { type: "button" }, "Copy");
    button.addEventListener("click", () => copy(box.querySelector("code"), button));
  });
  if (sections.length) {
    byId("folding").hidden = false;
    byId("open-all").addEventListener("click", () => sections.forEach((section) => { section.open = true; }));
    byId("close-all").addEventListener("click", () => sections.forEach((section) => { section.open = false; }));
  }
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all.filter((section) => !section.open);
    closed.forEach((section) => { section.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((section) => { section.open = false; }));
  addEventListener("hashchange", reveal);
  // A second click on a link to the same place opens it again.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) reveal();
  });
  reveal();
}
