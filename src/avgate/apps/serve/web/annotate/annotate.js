// The part for raters: play a recording, and draw how pleasant or activated somebody seems while it plays.

import { ask } from "../common/api.js";
import { element, make } from "../common/dom.js";
import { known, moment } from "../common/format.js";
import { onTab, openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { jobs, onJob } from "../videos/jobs.js";
import { drawRating, momentAt } from "./curve.js";
import { loadEstimate, valueAt } from "./estimate.js";
import { plainName, remember, remembered, showName } from "./naming.js";
import { padValue, readGamepad, resetPad, restPad, startPad } from "./pad.js";
import { columns, Rating } from "./rating.js";
import { dropRecording, loadRecording } from "./recording.js";
import { listSaved, ratingPath, savedRating, startSaved } from "./saved.js";
import { tellState } from "./state.js";

const TARGETS = ["valence", "arousal"];
const rating = new Rating();
const chosen = { job: "", target: "valence", typed: "" }; // typed: the rater's name
let awaited = remembered("job"); // the recording of the last visit, until it is listed or another one is chosen
let estimate = null;
let drawing = false;
let last_s = 0;
let stale = true; // whether what is drawn must be drawn anew
let note = ""; // what was done last

const delay_s = () => Math.max(0, Math.min(5, Number(element("delay").value) || 0));
const name = () => `${plainName(chosen.typed)}-${chosen.target}`;
const unsaved = () => !rating.empty && rating.stored !== name();
const mayLeave = () => !unsaved() || confirm(word("annotate.leave"));

/** Open the part with a job. @param {import("../videos/jobs.js").Job} job */
export function annotateJob(job) {
  openTab("annotate", true);
  element("rated").value = job.id;
  chooseJob();
}

function chooseJob() {
  awaited = "";
  choose();
  remember("job", chosen.job);
}

function listJob(job, gone) {
  const select = element("rated");
  const option = [...select.options].find((each) => each.value === job.id);
  if (gone || job.state !== "done") option?.remove();
  else if (!option) select.prepend(make("option", { value: job.id }, job.name));
  element("rated-none").hidden = select.options.length > 0;
  const again = !gone && job.id === awaited && job.state === "done" && !unsaved();
  if (again) { select.value = awaited; awaited = ""; }
  if (gone && job.id === chosen.job) { rating.clear(); choose(); }
  else if (!element("annotate").hidden && (again || !chosen.job)) choose();
}

/** Put the choices back to what is chosen. */
function putBack() {
  element("rated").value = chosen.job;
  element("rated-target").value = chosen.target;
  element("rater").value = chosen.typed;
  showName(chosen.target);
}

/** Follow the choices of recording, target and rater. */
function choose() {
  const wanted = { job: element("rated").value, target: element("rated-target").value, typed: element("rater").value };
  if (wanted.job === chosen.job && wanted.target === chosen.target) { rename(wanted.typed); return; }
  if (!mayLeave()) { putBack(); return; }
  turnTo(wanted);
}

/** Follow a change of the name: what is drawn stays, unless there is a rating of that name and it is wanted instead. */
function rename(typed) {
  if (typed === chosen.typed) return;
  const other = savedRating(`${plainName(typed)}-${chosen.target}`);
  const loads = other && other.name !== rating.stored;
  if (loads && !rating.empty && !confirm(word("annotate.other", { name: other.name }))) { putBack(); return; }
  chosen.typed = typed;
  remember("rater", typed);
  if (loads) openSaved(other);
  else { note = ""; showState(); }
}

/** Turn to another recording, target or rater, and to a saved rating: that one, or the one called so. */
async function turnTo(wanted, item = null) {
  const anew = wanted.job !== chosen.job;
  Object.assign(chosen, wanted);
  putBack();
  setDrawing(false);
  rating.clear();
  note = "";
  element("rating").hidden = !chosen.job;
  const job = jobs.get(chosen.job);
  if (!job) { dropRecording(); return; }
  if (anew) loadRecording(job);
  resetPad(chosen.target);
  const { target } = chosen;
  const [found] = await Promise.all([loadEstimate(job, target).catch(() => null), listSaved(job.id)]);
  if (chosen.job !== job.id || chosen.target !== target) return;
  estimate = found;
  const stored = item ?? savedRating(name());
  if (stored && rating.empty) await openSaved(stored); // something may have been drawn meanwhile
  showState();
}

/** Show a saved rating in place of what is drawn. @param {import("./saved.js").Saved} item */
async function openSaved(item) {
  const { job, target } = chosen;
  try {
    const table = columns(await (await ask(ratingPath(job, item.name))).text());
    if (job !== chosen.job || target !== chosen.target) return;
    setDrawing(false);
    rating.load(table.time_s.map((time_s, i) => ({ time_s, value: table[target]?.[i] })), delay_s());
    rating.stored = item.name;
    note = word("annotate.loaded", { name: item.name, time: moment(item.saved) });
  } catch (error) {
    note = word("annotate.not-loaded", { error: error.message });
  }
  showState();
}

/** Open a rating of the list, whoever's it is. @param {import("./saved.js").Saved} item */
function openListed(item) {
  if (!mayLeave()) return;
  const target = item.targets.includes(chosen.target) ? chosen.target : TARGETS.find((each) => item.targets.includes(each));
  const rater = item.name.endsWith(`-${target}`) ? item.name.slice(0, -target.length - 1) : item.name;
  const typed = plainName(chosen.typed) === rater ? chosen.typed : rater;
  turnTo({ job: chosen.job, target, typed }, item);
}

async function saveRating() {
  if (!plainName(chosen.typed)) {
    note = word("annotate.name-it");
    showState();
    element("rater").focus();
    return;
  }
  setDrawing(false);
  if (!rating.points(delay_s()).length) { note = word("annotate.empty"); showState(); return; }
  const [job, called] = [chosen.job, name()];
  try {
    const table = new Blob([rating.csv(chosen.target, delay_s())], { type: "text/csv" });
    await ask(ratingPath(job, called), { method: "PUT", body: table });
    rating.stored = called;
    note = word("annotate.saved", { name: called });
    await listSaved(job);
  } catch (error) {
    note = word("annotate.not-saved", { error: error.message });
  }
  showState();
}

function clearRating() {
  if (unsaved() && !confirm(word("annotate.clear.ask"))) return;
  rating.clear();
  note = "";
  setDrawing(false);
  element("rate-draw").focus(); // nothing is left to clear
}

function setDrawing(on) {
  if (on !== drawing) {
    drawing = on;
    last_s = element("rated-video").currentTime;
    if (on) {
      note = "";
      restPad();
      element("pad").focus();
      element("rated-video").play().catch(() => {}); // a browser may refuse; it is played by hand then
    }
  }
  showState();
}

function showState() {
  stale = true;
  const doing = word(padValue() === null ? "annotate.waiting" : "annotate.drawing");
  tellState({ rating, estimate, doing: drawing ? doing : note || word("annotate.idle"), unsaved: unsaved() }, drawing);
}

function togglePlay() {
  const video = element("rated-video");
  if (video.paused) video.play().catch(() => {}); else video.pause();
}

function draw(now_s) {
  const first = rating.empty;
  rating.draw(last_s, now_s, padValue());
  if (element("estimate").checked && estimate) rating.anchored = true;
  if (first) showState();
}

function tick() {
  requestAnimationFrame(tick);
  if (element("annotate").hidden || !chosen.job) return;
  readGamepad();
  const video = element("rated-video");
  const now_s = video.currentTime;
  const passed = now_s - last_s;
  const passes = !video.paused && !video.seeking && passed > 0 && passed < 1;
  if (drawing && passes && padValue() !== null) draw(now_s);
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

/** Let the part begin. */
export function startAnnotating() {
  element("rated-target").replaceChildren(...TARGETS.map((target) => make("option", { value: target }, word(target))));
  startSaved({
    open: openListed,
    gone: (job, called) => { if (job === chosen.job && called === rating.stored) { rating.stored = ""; note = ""; showState(); } },
    targets: TARGETS,
  });
  element("rater").value = remembered("rater");
  chosen.typed = element("rater").value;
  showName(chosen.target);
  element("rated").addEventListener("change", chooseJob);
  for (const id of ["rated-target", "rater"]) element(id).addEventListener("change", choose);
  for (const id of ["rated-target", "rater"]) element(id).addEventListener("input", () => showName(element("rated-target").value));
  for (const id of ["delay", "estimate"]) element(id).addEventListener("change", () => { stale = true; });
  element("delay").addEventListener("change", () => { rating.stored = ""; note = ""; showState(); });
  element("rate-draw").addEventListener("click", () => setDrawing(!drawing));
  element("rate-clear").addEventListener("click", clearRating);
  element("rate-save").addEventListener("click", saveRating);
  startPad({ toggle: togglePlay, touched: showState });
  const video = element("rated-video");
  video.addEventListener("pause", showState);
  video.addEventListener("ended", () => setDrawing(false));
  for (const event of ["loadedmetadata", "seeked"]) video.addEventListener(event, () => { stale = true; });
  element("rated-curve").addEventListener("click", (event) => {
    video.currentTime = momentAt(element("rated-curve"), event.clientX, video.duration || 0);
  });
  addEventListener("resize", () => { stale = true; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { stale = true; });
  addEventListener("beforeunload", (event) => { if (unsaved()) event.preventDefault(); });
  onJob(listJob);
  onTab("annotate", () => { stale = true; choose(); });
  requestAnimationFrame(tick);
}
