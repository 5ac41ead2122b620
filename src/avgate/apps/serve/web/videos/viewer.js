// A recording's report and files, in place of the list.

import { askJson, resultAddress } from "../common/api.js";
import { element, make, say, tell } from "../common/dom.js";
import { onAddress, openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { jobs, onJob } from "./jobs.js";
import { landIn, stateWords } from "./rows.js";

let shown = "";
let framed = "";

/** Show the recording that the address names; without one, the list. @param {string} id */
async function show(id) {
  if (id === shown) return;
  const [before, had] = [shown, document.activeElement];
  const lost = had === document.body || element("viewer").contains(had);
  shown = id;
  element("list").hidden = Boolean(id);
  element("viewer").hidden = !id;
  document.body.classList.toggle("reading", Boolean(id));
  frame("");
  if (!id) {
    if (lost && !element("videos").hidden) landIn(document.querySelector(`[data-job="${before}"]`));
    return;
  }
  let job = jobs.get(id);
  let wrong = "";
  if (!job) job = await askJson(`api/jobs/${encodeURIComponent(id)}`).catch((error) => { wrong = error.message; });
  if (shown !== id) return;
  fill(job ?? { id, name: "", state: "", results: [] });
  if (wrong) tell(element("viewer-state"), wrong);
  element("viewer").focus({ preventScroll: true });
  scrollTo(0, 0);
  if (job) say(word("said.opened", { name: job.name }));
}

function fill(job) {
  const report = job.results.find((name) => name.endsWith(".html"));
  element("viewer-title").textContent = job.name || word("viewer.unknown");
  element("viewer-files").replaceChildren(...job.results.map((name) =>
    make("li", {}, make("a", { href: resultAddress(job.id, name), download: name, textContent: name }))));
  const done = job.state === "done";
  tell(element("viewer-state"), job.state && !done ? stateWords(job) : done && !report ? word("viewer.none") : "");
  const place = report ? resultAddress(job.id, report) : "";
  element("viewer-tab").hidden = !report;
  element("viewer-tab").href = place || "#";
  frame(place, word("viewer.frame", { name: job.name }));
}

/** Show a report. Each has a frame of its own: a new address in an old one would be a step for the Back button. */
function frame(src, title = "") {
  if (src === framed) return;
  framed = src;
  element("viewer-frame")?.remove();
  if (!src) return;
  const made = make("iframe", { id: "viewer-frame", title, src });
  made.setAttribute("sandbox", "allow-scripts");
  element("viewer").append(made);
}

/** Let the address, Esc and the buttons open and close recordings. */
export function startViewer() {
  const close = () => openTab("videos");
  element("viewer-close").addEventListener("click", close);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && shown && !event.defaultPrevented) close();
  });
  addEventListener("message", (event) => { // Esc in the report
    if (event.data === "close" && event.source === element("viewer-frame")?.contentWindow) close();
  });
  onJob((job, gone) => {
    if (job.id !== shown) return;
    if (gone) close(); else fill(job);
  });
  onAddress(show);
}
