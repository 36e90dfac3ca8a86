// What needs JavaScript appears only where it runs; every other part of the page is there without it.

if (points.length) {
  document.querySelectorAll(".needs-script").forEach((part) => { part.hidden = false; });
  startTable();
  startExplorer();
  startMultiples();
  startParallel();
  startInspector();
  startLimits();
}
startSections();
