// The part for the camera: switched on, it shows what is estimated as it happens.

import { calm, element, make, say, tell } from "../common/dom.js";
import { percent } from "../common/format.js";
import { onTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { showFace } from "./box.js";
import { drawCurves } from "./curves.js";
import { offerDevices, openDevices } from "./devices.js";
import { Pictures } from "./pictures.js";
import { drawPlane, Eased } from "./plane.js";
import { clearReadout, everyFrame, Pace, showReadout } from "./readout.js";
import { recordResult, showOnAir, startRecordings, stopRecording } from "./recording.js";
import { relianceBars } from "./reliance.js";
import { Results } from "./results.js";
import { listen, RATE } from "./sound.js";
import { Stream } from "./stream.js";

const SAID_MS = 350; // numbers and words change no more often
const DRAWN_MS = 30; // nor do pictures: a slow machine has more to do

/** What runs; null where nothing does. */
let run = null;
/** What is shown: what runs, or what ran last. */
let shown = null;

async function start() {
  tell(element("live-trouble"), "");
  element("live-start").disabled = true;
  tell(element("live-state"), word("live.starting"));
  try {
    const media = await openDevices();
    await begin(media);
  } catch (error) {
    stop(error.message);
  } finally {
    element("live-start").disabled = false;
  }
}

async function begin(media) {
  const [seen, heard] = [media.getVideoTracks().length > 0, media.getAudioTracks().length > 0];
  const [level, model] = [Number(element("level").value), element("live-model").value];
  run = { media, seen, heard, results: new Results(), eased: new Eased(), pace: new Pace(performance.now()), dropped: 0, endings: [] };
  Object.assign(run, { about: { level, model, targets: [], gates: [] }, said_ms: 0, eased_ms: 0, drawn: -1 });
  const mine = run;
  for (const track of media.getTracks()) {
    mine.endings.push(() => track.stop());
    track.addEventListener("ended", () => { if (run === mine) stop(word("live.error.NotFoundError")); }); // unplugged
  }
  const stream = new Stream({ model, video: seen, sound: heard, level, image: "jpeg", audio: "s16", rate: RATE }, {
    ready: (message) => ready(mine, message),
    results: (message) => take(mine, message),
    ended: (error, notes) => {
      if (run === mine) stop(error, notes);
      else if (!run && notes.length) showNotes(notes); // of one that was switched off
    },
  });
  mine.stream = stream;
  mine.endings.push(() => stream.end());
  element("preview").srcObject = media;
  element("preview").hidden = !seen;
  const airing = setInterval(() => showOnAir(run), 500);
  mine.endings.push(() => clearInterval(airing));
  showOnAir(run);
  if (seen) {
    await element("preview").play();
    mine.pictures = new Pictures(element("preview"), (taken, jpeg) => stream.picture(taken, jpeg));
    mine.endings.push(() => mine.pictures.stop());
  }
  if (heard) mine.endings.push(await listen(media, (begun, samples) => stream.sound(begun, samples)));
  if (run === mine && !stream.ready) tell(element("live-state"), word("live.loading"));
  if (run !== mine) mine.endings.forEach((end) => end()); // it was refused meanwhile
  offerDevices();
}

function ready(mine, { targets, gates = [], demonstration, notes, provenance }) {
  Object.assign(mine.about, { targets, gates, demonstration, notes, provenance });
  mine.showBars = relianceBars(gates);
  shown = mine;
  tell(element("live-state"), "");
  clearReadout();
  showEnded(false);
  element("live-now").hidden = false;
  element("live-settings").open = false;
  showRunning(true);
  element("curves-caption").textContent = word("curves.caption", { level: percent(mine.about.level) });
  showNotes(notes);
  say([mine.seen && word("live.on"), mine.heard && word("live.on.sound")].filter(Boolean).join(" "));
  mine.endings.push(everyFrame(() => draw(mine)));
}

function take(mine, message) {
  const now = 1000 * mine.stream.seconds(performance.now());
  mine.dropped = message.dropped ?? mine.dropped;
  for (const result of message.results) {
    mine.results.add(result, now);
    recordResult(result);
  }
}

function draw(mine) {
  if (!element("plane").clientWidth) return; // another tab is open, or the page is being left
  const { results } = mine;
  const now = performance.now();
  if (!mine.ended && now - mine.said_ms >= SAID_MS) {
    mine.said_ms = now;
    sayNewest(mine);
  }
  if (mine.drawn === results.count && !mine.moves) return;
  if (!mine.ended && now - mine.eased_ms < DRAWN_MS) return;
  const still = mine.drawn === results.count;
  mine.drawn = results.count;
  if (results.newest) mine.moves = mine.eased.follow(results.newest, calm() || mine.ended ? Infinity : (now - mine.eased_ms) / 1000);
  mine.eased_ms = now;
  const dim = mine.ended || results.weak;
  drawPlane(element("plane"), results, mine.eased, dim);
  if (still) return;
  drawCurves(element("curves"), results, mine.about.targets, { said: mine.said, dim, ended: mine.ended });
  showFace(mine.ended ? undefined : results.newest);
}

/** Say the newest numbers, and whether they can be relied on. */
function sayNewest(mine) {
  const { results, pictures, stream } = mine;
  mine.said = results.newest;
  if (!mine.said) return;
  mine.drawn = -1;
  const left_out = mine.dropped + stream.left_out + (pictures ? pictures.missed + results.skipped : 0);
  const now = performance.now();
  const now_ms = 1000 * stream.seconds(now);
  showReadout(results, { seen: mine.seen, heard: mine.heard, left_out, now_ms });
  element("live-now").classList.toggle("weak", results.weak);
  mine.showBars(mine.said);
  tell(element("slow"), mine.pace.warning(now, { late_ms: results.lateness(now_ms), taken: pictures?.taken ?? 0, left_out }));
}

function stop(error = "", notes = []) {
  const was = run;
  const over = was && was === shown;
  run = null;
  if (over) sayNewest(was);
  was?.endings.reverse().forEach((end) => end());
  element("preview").srcObject = null;
  element("preview").hidden = true;
  showRunning(false);
  tell(element("live-state"), was && !error ? word("live.off") : "");
  for (const id of ["missing", "slow"]) tell(element(id), "");
  tell(element("live-trouble"), error);
  if (error) element("live-settings").open = true;
  if (notes.length) showNotes(notes);
  stopRecording();
  showOnAir(null);
  if (!over) return;
  was.ended = true;
  showEnded(true);
  draw(was);
}

/** Whether what is shown is over: then it is dim, and says so. */
function showEnded(ended) {
  element("live-now").classList.toggle("ended", ended);
  element("ended").hidden = !ended;
  element("plane-title").textContent = word(ended ? "plane.title.ended" : "plane.title");
  if (!ended) element("live-now").classList.remove("weak");
}

function showRunning(running) {
  const focused = document.activeElement;
  element("live-start").hidden = running;
  for (const id of ["live-stop", "record"]) element(id).hidden = !running;
  for (const id of ["live-model", "camera", "microphone"]) element(id).disabled = running;
  if (["live-start", "live-stop", "record"].includes(focused.id)) element(running ? "live-stop" : "live-start").focus();
}

const showNotes = (notes = []) => element("live-said").replaceChildren(...notes.map((note) => make("p", { className: "caption" }, note)));

/** Draw all anew, where nothing came but the page changed. */
function redraw() {
  if (!shown) return;
  shown.drawn = -1;
  if (shown.ended) draw(shown);
}

/** Be patient again: while nothing was seen of the page, no pictures were taken. */
function comeBack() {
  if (run) run.pace = new Pace(performance.now());
  redraw();
}

/** Let the part begin. */
export function startLive() {
  element("live-start").addEventListener("click", start);
  element("live-stop").addEventListener("click", () => stop());
  startRecordings(() => run);
  onTab("live", comeBack);
  document.addEventListener("visibilitychange", comeBack);
  navigator.mediaDevices?.addEventListener?.("devicechange", offerDevices);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", redraw);
  addEventListener("pagehide", () => stop());
  offerDevices();
}
