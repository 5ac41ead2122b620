// Recording a session: begun and ended, kept in the page until it is saved; and that camera and recording are on.

import { askJson } from "../common/api.js";
import { element, save, say, tell } from "../common/dom.js";
import { clock } from "../common/format.js";
import { openTab } from "../common/tabs.js";
import { word } from "../common/words.js";
import { send } from "../videos/videos.js";
import { Session } from "./session.js";

/** @type {Session|null} the recorded session, running or over */
let session = null;
let keep_h = null; // hours for which the server keeps a report; null where it hasn't said

/** Keep a result where there is a recording. @param {import("./results.js").Result} result */
export function recordResult(result) {
  if (session?.running) session.add(result);
}

/** End the recording where there is one, and offer what it has. */
export async function stopRecording() {
  if (!session?.running) return;
  session.running = false;
  showRecording();
  await session.stop();
  const { seconds, results } = session;
  const values = { seconds: clock(seconds), n: results.length };
  element("session-words").textContent = results.length ? word("session.words", values) : word("session.none");
  for (const id of ["session-csv", "session-json"]) element(id).hidden = !results.length;
  element("session-video").hidden = element("session-report").hidden = !session.video?.size;
  element("session-report").disabled = false;
  element("session").hidden = false;
  say(element("session-words").textContent);
}

/** Begin one. @param {object} run what is on */
function startRecording(run) {
  if (session?.unsaved && !confirm(word("session.leave"))) return;
  session = new Session(run.about, element("keep-video").checked ? run.media : null);
  element("session").hidden = true;
  showRecording();
  say(word("record.on"));
}

function showRecording() {
  const on = Boolean(session?.running);
  element("record").setAttribute("aria-pressed", String(on));
  element("record").textContent = word(on ? "record.stop" : "record.start");
  element("keep-video").disabled = on;
}

/**
 * Show on the tab's label, whatever tab is open, what is on and for how long there is a recording.
 * @param {{seen: boolean}|null} run
 */
export function showOnAir(run) {
  const time = session?.running ? clock(session.elapsed_s) : "";
  element("on-air").hidden = !run;
  showPrivacy(Boolean(run));
  tell(element("on-air-what"), run ? word(run.seen ? "on-air.camera" : "on-air.microphone") : "");
  tell(element("on-air-record"), run && time ? word("on-air.record", { time }) : "");
  tell(element("record-time"), time);
}

/** Say what becomes of pictures and sound; once they go, what is kept of them only. @param {boolean} on */
function showPrivacy(on) {
  const when = keep_h === null ? word("live.deleted.late") : word("live.deleted.hours", { n: keep_h });
  const kept = element("keep-video").checked;
  tell(element("live-private"), kept ? word("live.private.keep", { when }) : on ? "" : word("live.private"));
}

/** Let it begin. @param {() => object|null} running what is on */
export function startRecordings(running) {
  const click = (id, action) => element(id).addEventListener("click", action);
  click("record", () => {
    if (session?.running) stopRecording(); else startRecording(running());
    showOnAir(running());
  });
  const saved = (parts, blob, name) => { save(blob, name); session.keep(...parts); };
  click("session-csv", () => saved(["results"], new Blob([session.csv()], { type: "text/csv" }), session.name(".csv")));
  click("session-json", () => saved(["results"], new Blob([session.json()], { type: "application/json" }), session.name(".json")));
  click("session-video", () => saved(["video"], session.video, session.videoName));
  click("session-report", () => {
    element("session-report").disabled = true; // it is in the list now
    send(session.video, session.videoName);
    session.keep("results", "video");
    openTab("videos", true);
  });
  element("keep-video").addEventListener("change", () => showPrivacy(Boolean(running())));
  addEventListener("beforeunload", (event) => { if (session?.unsaved) event.preventDefault(); });
  showPrivacy(false);
  askJson("api/limits").then((limits) => { keep_h = limits.keep_h; showPrivacy(Boolean(running())); }).catch(() => {}); // the words say "a while"
}
