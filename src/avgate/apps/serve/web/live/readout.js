// What is said of the newest result in words and numbers.

import { calm, element, say, tell } from "../common/dom.js";
import { known, pointWords, signed } from "../common/format.js";
import { word } from "../common/words.js";
import { ends } from "./results.js";

const PATIENCE_S = 1.5; // nothing is said to be missing in the first moments

/** A value with its interval. */
function valueWords(result, name) {
  const value = result.targets[name];
  if (!known(value)) return word("unknown");
  const both = ends(result, name);
  return both ? `${signed(value)} (${signed(both[0])} … ${signed(both[1])})` : signed(value);
}

/**
 * Show the newest result.
 * @param {import("./results.js").Results} results
 * @param {{seen: boolean, heard: boolean, left_out: number, now_ms: number}} state
 */
export function showReadout(results, { seen, heard, left_out, now_ms }) {
  const put = (id, text) => { if (element(id).textContent !== text) element(id).textContent = text; };
  const newest = results.newest;
  if (!newest) return;
  for (const name of ["valence", "arousal"]) put(`now-${name}`, valueWords(newest, name));
  put("plane-words", pointWords(newest.targets.valence, newest.targets.arousal));
  const late = results.late_ms;
  put("now-late", Number.isFinite(late) ? word("live.ms", { n: Math.round(late / 10) * 10 }) : "–");
  put("now-rate", String(Math.round(results.rate(now_ms))));
  put("now-dropped", String(left_out));
  const states = { face: seen ? results.present("face") : null, voice: heard ? results.present("voice") : null };
  for (const [mask, state] of Object.entries(states)) {
    put(`now-${mask}`, state === null ? word("mask.off") : word(`mask.${mask}.${state ? "yes" : "no"}`));
  }
  if (newest.time_s > PATIENCE_S) tellMissing(states, heard && results.present("audio") === false);
}

function tellMissing({ face, voice }, silent) {
  const ear = silent ? "live.no-sound" : "live.no-voice";
  const missing = [face === false ? "live.no-face" : "", voice === false ? ear : ""].filter(Boolean);
  const words = face === false && voice === false && !silent ? ["live.no-both"] : missing;
  const text = words.map((key) => word(key)).join(" ");
  // Who listens hears of a face that is lost; a voice comes and goes with every sentence.
  if (face === false && element("missing").textContent !== text && !element("missing").dataset.said) say(word("live.no-face"));
  element("missing").dataset.said = face === false ? "yes" : "";
  tell(element("missing"), text);
}

/**
 * Call something whenever the page is drawn, or four times a second where little should move.
 * @param {() => void} action
 * @returns {() => void} ends it
 */
export function everyFrame(action) {
  let running = true, last = 0;
  const step = (now) => {
    if (!running) return;
    requestAnimationFrame(step);
    if (calm() && now - last < 250) return;
    last = now;
    action();
  };
  requestAnimationFrame(step);
  return () => { running = false; };
}
