// The part for the camera: switched on, it shows what is estimated as it happens.

import { element, make, save, say, tell } from "../common/dom.js";
import { clock, percent } from "../common/format.js";
import { onTab, openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { send } from "../videos/videos.js";
import { drawCurves } from "./curves.js";
import { offerDevices, openDevices } from "./devices.js";
import { Pictures } from "./pictures.js";
import { drawPlane } from "./plane.js";
import { everyFrame, showReadout } from "./readout.js";
import { relianceBars } from "./reliance.js";
import { Results } from "./results.js";
import { Session } from "./session.js";
import { listen, RATE } from "./sound.js";
import { Stream } from "./stream.js";

/** What runs; null where nothing does. */
let run = null;
/** @type {Session|null} the recorded session, running or over */
let session = null;

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
  const level = Number(element("level").value);
  run = { media, seen, heard, level, results: new Results(), dropped: 0, endings: [], targets: [], gates: [] };
  const mine = run;
  for (const track of media.getTracks()) {
    mine.endings.push(() => track.stop());
    track.addEventListener("ended", () => { if (run === mine) stop(word("live.error.NotFoundError")); }); // unplugged
  }
  const settings = { model: element("live-model").value, video: seen, sound: heard, level, image: "jpeg", audio: "s16", rate: RATE };
  const stream = new Stream(settings, {
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

function ready(mine, message) {
  Object.assign(mine, { targets: message.targets, gates: message.gates ?? [], demonstration: message.demonstration });
  mine.showBars = relianceBars(mine.gates);
  tell(element("live-state"), "");
  element("live-now").hidden = false;
  showRunning(true);
  element("curves-caption").textContent = word("curves.caption", { level: percent(mine.level) });
  showNotes(message.notes);
  say([mine.seen && word("live.on"), mine.heard && word("live.on.sound")].filter(Boolean).join(" "));
  mine.endings.push(everyFrame(() => draw(mine)));
}

function take(mine, message) {
  const now = 1000 * mine.stream.seconds(performance.now());
  mine.dropped = message.dropped ?? mine.dropped;
  for (const result of message.results) {
    mine.results.add(result, now);
    if (session?.running) session.add(result);
  }
}

function draw(mine) {
  if (element("live").hidden || mine.drawn === mine.results.count) return;
  mine.drawn = mine.results.count;
  const left_out = mine.dropped + mine.stream.left_out + (mine.pictures ? mine.pictures.missed + mine.results.skipped : 0);
  const now_ms = 1000 * mine.stream.seconds(performance.now());
  showReadout(mine.results, { seen: mine.seen, heard: mine.heard, left_out, now_ms });
  drawPlane(element("plane"), mine.results);
  drawCurves(element("curves"), mine.results, mine.targets);
  if (mine.results.newest) mine.showBars(mine.results.newest);
}

function stop(error = "", notes = []) {
  const was = run;
  run = null;
  was?.endings.reverse().forEach((end) => end());
  element("preview").srcObject = null;
  element("preview").hidden = true;
  showRunning(false);
  tell(element("live-state"), "");
  tell(element("missing"), "");
  tell(element("live-trouble"), error);
  if (notes.length) showNotes(notes);
  if (session?.running) stopRecording();
  if (was && !error) say(word("live.off"));
}

function showRunning(running) {
  const focused = document.activeElement;
  element("live-start").hidden = running;
  for (const id of ["live-stop", "record"]) element(id).hidden = !running;
  for (const id of ["live-model", "camera", "microphone"]) element(id).disabled = running;
  if (["live-start", "live-stop", "record"].includes(focused.id)) element(running ? "live-stop" : "live-start").focus();
}

const showNotes = (notes = []) => element("live-said").replaceChildren(...notes.map((note) => make("p", { className: "caption" }, note)));

function startRecording() {
  session = new Session({ targets: run.targets, gates: run.gates, level: run.level, demonstration: run.demonstration }, element("keep-video").checked ? run.media : null);
  session.running = true;
  element("session").hidden = true;
  showRecording(true);
  say(word("record.on"));
}

async function stopRecording() {
  session.running = false;
  showRecording(false);
  await session.stop();
  const { seconds, results } = session;
  const values = { seconds: clock(seconds), n: results.length };
  element("session-words").textContent = results.length ? word("session.words", values) : word("session.none");
  element("session-csv").hidden = !results.length;
  element("session-video").hidden = element("session-report").hidden = !session.video?.size;
  element("session-report").disabled = false;
  element("session").hidden = false;
  say(element("session-words").textContent);
}

function showRecording(on) {
  element("record").setAttribute("aria-pressed", String(on));
  element("record").textContent = word(on ? "record.stop" : "record.start");
}

/** Let the part begin. */
export function startLive() {
  const click = (id, action) => element(id).addEventListener("click", action);
  click("live-start", start);
  click("live-stop", () => stop());
  click("record", () => (session?.running ? stopRecording() : startRecording()));
  click("session-csv", () => save(new Blob([session.csv()], { type: "text/csv" }), session.name(".csv")));
  click("session-video", () => save(session.video, session.videoName));
  click("session-report", () => {
    element("session-report").disabled = true; // it is in the list now
    send(session.video, session.videoName);
    openTab("videos", true);
  });
  onTab("live", () => { if (run) run.drawn = -1; });
  navigator.mediaDevices?.addEventListener?.("devicechange", offerDevices);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (run) run.drawn = -1; });
  addEventListener("resize", () => { if (run) run.drawn = -1; });
  addEventListener("pagehide", () => stop());
  offerDevices();
}
