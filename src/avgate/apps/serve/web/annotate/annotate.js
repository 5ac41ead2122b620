// The part for raters: play a recording, and draw how pleasant or activated somebody seems while it plays.

import { address, ask } from "../common/api.js";
import { element, make, tell } from "../common/dom.js";
import { known } from "../common/format.js";
import { onTab, openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { jobs, onJob } from "../videos/jobs.js";
import { drawRating, momentAt } from "./curve.js";
import { loadEstimate, ownDelay, valueAt } from "./estimate.js";
import { padValue, readGamepad, setPad, startPad } from "./pad.js";
import { columns, Rating } from "./rating.js";
import { dropRecording, loadRecording } from "./recording.js";

const TARGETS = ["valence", "arousal"];
const rating = new Rating();
const chosen = { job: "", target: "valence", rater: "" };
let estimate = null;
let drawing = false;
let last_s = 0;
let stale = true; // whether what is drawn must be drawn anew

const delay_s = () => Math.max(0, Math.min(5, Number(element("delay").value) || 0));
const rater = () => element("rater").value.trim().replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+|-+$/g, "");
const name = () => `${rater()}-${chosen.target}`;
const place = () => `api/jobs/${chosen.job}/annotations/${encodeURIComponent(name())}`;

/** Open the part with a job. @param {import("../videos/jobs.js").Job} job */
export function annotateJob(job) {
  openTab("annotate", true);
  element("rated").value = job.id;
  choose();
}

function listJob(job, gone) {
  const select = element("rated");
  const option = [...select.options].find((each) => each.value === job.id);
  if (gone || job.state !== "done") option?.remove();
  else if (!option) select.prepend(make("option", { value: job.id }, job.name));
  element("rated-none").hidden = select.options.length > 0;
  if (gone && job.id === chosen.job) { rating.clear(); choose(); }
  else if (!element("annotate").hidden && !chosen.job) choose();
}

/** Follow the choices of recording, target and rater. */
async function choose() {
  const wanted = { job: element("rated").value, target: element("rated-target").value, rater: rater() };
  if (Object.keys(wanted).every((key) => wanted[key] === chosen[key])) return;
  const named = chosen.rater === "" && wanted.job === chosen.job && wanted.target === chosen.target;
  if (!rating.saved && !named && !confirm(word("annotate.leave"))) {
    element("rated").value = chosen.job;
    element("rated-target").value = chosen.target;
    element("rater").value = chosen.rater;
    return;
  }
  const anew = wanted.job !== chosen.job;
  const other = anew || wanted.target !== chosen.target;
  Object.assign(chosen, wanted);
  if (!rating.saved && named) { showState(); return; } // drawn first, named now
  setDrawing(false);
  rating.clear();
  element("rating").hidden = !chosen.job;
  element("saved").hidden = true;
  const job = jobs.get(chosen.job);
  if (!job) { dropRecording(); return; }
  if (anew) loadRecording(job);
  if (other) setPad(0);
  for (const [id, end] of [["pad-top", 1], ["pad-bottom", -1]]) {
    element(id).textContent = `${end < 0 ? "−" : "+"}1 ${word(`${chosen.target}.${end}`)}`;
  }
  estimate = await loadEstimate(job, chosen.target).catch(() => null);
  await loadSaved();
  showState();
}

async function loadSaved() {
  if (!chosen.rater) return;
  const asked = name();
  const answer = await ask(`${place()}?format=csv`).catch(() => null); // there need not be one
  if (!answer || asked !== name()) return;
  const table = columns(await answer.text());
  const values = table[chosen.target] ?? [];
  rating.load(table.time_s.map((time_s, i) => ({ time_s, value: values[i] })), delay_s());
  offerSaved();
}

async function saveRating() {
  if (!rater()) {
    tell(element("rate-state"), word("annotate.name-it"));
    element("rater").focus();
    return;
  }
  chosen.rater = rater();
  setDrawing(false);
  if (!rating.points(delay_s()).length) { tell(element("rate-state"), word("annotate.empty")); return; }
  try {
    const body = rating.csv(chosen.target, delay_s());
    await ask(`${place()}?format=csv`, { method: "PUT", body, headers: { "Content-Type": "text/csv" } });
    rating.saved = true;
    tell(element("rate-state"), word("annotate.saved", { name: name() }));
    offerSaved();
  } catch (error) {
    tell(element("rate-state"), word("annotate.not-saved", { error: error.message }));
  }
}

function offerSaved() {
  element("saved").hidden = false;
  element("saved-link").href = address(`${place()}?format=${encodeURIComponent(element("saved-format").value)}`);
}

function setDrawing(on) {
  if (on !== drawing) {
    drawing = on;
    element("rate-draw").setAttribute("aria-pressed", String(on));
    last_s = element("rated-video").currentTime;
    if (on) element("rated-video").play().catch(() => {}); // a browser may refuse; it is played by hand then
  }
  showState();
}

function showState() {
  stale = true;
  const own = ownDelay(rating, estimate);
  const words = own && word("annotate.own", { n: own.delay_s.toFixed(1), r: own.r.toFixed(2) });
  tell(element("own-delay"), words || word("annotate.own.unknown"));
  const unsaved = rating.saved ? "" : word("annotate.unsaved", { n: rating.seconds.toFixed(1) });
  tell(element("rate-state"), [word(drawing ? "annotate.drawing" : "annotate.idle"), unsaved].filter(Boolean).join(" "));
}

function togglePlay() {
  const video = element("rated-video");
  if (video.paused) video.play().catch(() => {}); else video.pause();
}

function tick() {
  requestAnimationFrame(tick);
  if (element("annotate").hidden || !chosen.job) return;
  readGamepad();
  const video = element("rated-video");
  const now_s = video.currentTime;
  const passed = now_s - last_s;
  if (drawing && !video.paused && !video.seeking && passed > 0 && passed < 1) rating.draw(last_s, now_s, padValue());
  if (now_s !== last_s) stale = true;
  if (drawing && Math.floor(now_s) !== Math.floor(last_s)) showState();
  last_s = now_s;
  if (!stale) return;
  stale = false;
  const shown = element("estimate").checked ? estimate : null;
  const seconds = video.duration || estimate?.time_s.at(-1) || 1;
  drawRating(element("rated-curve"), { points: rating.points(delay_s()), estimate: shown, target: chosen.target, seconds, now_s });
  const said = valueAt(shown, now_s);
  element("pad-estimate").hidden = !known(said);
  if (known(said)) element("pad-estimate").style.bottom = `${50 * (said + 1)}%`;
}

/** Offer what a rating can be saved as. @param {string[]} names of label formats */
export function offerSavedFormats(names) {
  const all = [...new Set(["csv", ...names])];
  element("saved-format").replaceChildren(...all.map((format) => make("option", { value: format }, format)));
}

/** Let the part begin. */
export function startAnnotating() {
  element("rated-target").replaceChildren(...TARGETS.map((target) => make("option", { value: target }, word(target))));
  offerSavedFormats([]);
  for (const id of ["rated", "rated-target", "rater"]) element(id).addEventListener("change", choose);
  for (const id of ["delay", "estimate"]) element(id).addEventListener("change", () => { stale = true; });
  element("delay").addEventListener("change", () => { if (rating.seconds) { rating.saved = false; showState(); } });
  element("saved-format").addEventListener("change", offerSaved);
  element("rate-draw").addEventListener("click", () => setDrawing(!drawing));
  element("rate-clear").addEventListener("click", () => { rating.clear(); showState(); });
  element("rate-save").addEventListener("click", saveRating);
  startPad({ toggle: togglePlay });
  const video = element("rated-video");
  for (const event of ["pause", "ended"]) video.addEventListener(event, showState);
  for (const event of ["loadedmetadata", "seeked"]) video.addEventListener(event, () => { stale = true; });
  element("rated-curve").addEventListener("click", (event) => {
    video.currentTime = momentAt(element("rated-curve"), event.clientX, video.duration || 0);
  });
  addEventListener("resize", () => { stale = true; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { stale = true; });
  addEventListener("beforeunload", (event) => { if (!rating.saved) event.preventDefault(); });
  onJob(listJob);
  onTab("annotate", () => { stale = true; choose(); });
  requestAnimationFrame(tick);
}
