// A finished job's report, in place, and its files.

import { resultAddress } from "../common/api.js";
import { element, make, say } from "../common/dom.js";
import { word } from "../common/words.js";

let shown = "";

/** Show what became of a job. @param {import("./jobs.js").Job} job */
export function openReport(job) {
  shown = job.id;
  const report = job.results.find((name) => name.endsWith(".html"));
  element("viewer-title").textContent = job.name;
  element("viewer-files").replaceChildren(...job.results.map((name) =>
    make("li", {}, make("a", { href: resultAddress(job.id, name), download: name, textContent: name }))));
  const frame = element("viewer-frame");
  frame.hidden = !report;
  frame.title = word("viewer.frame", { name: job.name });
  frame.src = report ? resultAddress(job.id, report) : "about:blank";
  element("viewer-none").hidden = Boolean(report);
  element("viewer").hidden = false;
  element("viewer").focus({ preventScroll: true });
  element("viewer").scrollIntoView({ block: "start" });
  say(word("said.opened", { name: job.name }));
}

/** Close the report; of a job, only where it is the one that is shown. @param {string} id */
export function closeReport(id = shown) {
  if (!shown || id !== shown) return;
  element("viewer").hidden = true;
  element("viewer-frame").src = "about:blank";
  document.querySelector(`[data-job="${shown}"] button:not([hidden])`)?.focus();
  shown = "";
}
