// What is said of the newest result in words and numbers, and where the machines can't follow.

import { calm, element, say, tell } from "../common/dom.js";
import { known, percent, pointWords, signed } from "../common/format.js";
import { word } from "../common/words.js";
import { ends } from "./results.js";

const PATIENCE_S = 1.5; // nothing is said to be missing in the first moments
const [LATE_MS, MOST_LEFT, SPAN_MS, FEWEST] = [500, 0.1, 10_000, 25]; // from when on it is said; of at least so many pictures
const [HELD_MS, FIRST_MS] = [3000, 2000]; // a warning stays and keeps its words for a while, and never comes at once

/** A value with its interval. */
function valueWords(result, name) {
  const value = result.targets[name];
  if (!known(value)) return word("unknown");
  const both = ends(result, name);
  return both ? `${signed(value)} (${signed(both[0])} … ${signed(both[1])})` : signed(value);
}

const put = (id, text) => { if (element(id).textContent !== text) element(id).textContent = text; };

/**
 * Show the newest result.
 * @param {import("./results.js").Results} results
 * @param {{seen: boolean, heard: boolean, left_out: number, now_ms: number}} state
 */
export function showReadout(results, { seen, heard, left_out, now_ms }) {
  const newest = results.newest;
  if (!newest) return;
  for (const name of ["valence", "arousal"]) put(`now-${name}`, valueWords(newest, name));
  put("plane-words", pointWords(newest.targets.valence, newest.targets.arousal));
  put("now-late", word("live.ms", { n: Math.round(results.lateness(now_ms) / 10) * 10 }));
  put("now-rate", String(Math.round(results.rate(now_ms))));
  put("now-dropped", String(left_out));
  const face = seen ? results.present("face") : null;
  const [voice, audio] = ["voice", "audio"].map((mask) => (heard ? results.present(mask) : null));
  put("now-face", face === null ? word("mask.off") : word(`mask.face.${face ? "yes" : "no"}`));
  const silent = audio === false ? "none" : "no";
  put("now-voice", voice === null ? word("mask.off") : word(`mask.voice.${voice ? "yes" : silent}`));
  if (newest.time_s > PATIENCE_S) tellMissing(results.weak, face, audio);
}

/** Before the first result. */
export function clearReadout() {
  for (const name of ["valence", "arousal", "face", "voice", "late", "rate", "dropped"]) put(`now-${name}`, "–");
  put("plane-words", "");
}

function tellMissing(weak, face, audio) {
  const missing = [face === false && "live.no-face", audio === false && "live.no-sound", !face && !audio && "live.no-value"];
  const keys = weak ? [face === false ? "live.sound-only" : "live.sound-only.unseen"] : missing.filter(Boolean);
  const text = keys.map((key) => word(key)).join(" ");
  const where = element("missing");
  // Who listens hears of a face that is lost, and of numbers that mean little; a voice comes and goes with every sentence.
  if (where.textContent !== text && (weak || face === false)) say(text);
  tell(where, text);
}

/** Whether server and machine follow: a warning only where results come late, or many pictures aren't looked at. */
export class Pace {
  history = [];
  until_ms = 0;
  kind = "";
  words = "";

  /** @param {number} now of performance.now() */
  constructor(now) {
    this.began_ms = now;
  }

  /** @param {number} now @param {{late_ms: number, taken: number, left_out: number}} counts taken, left_out: pictures so far @returns {string} */
  warning(now, { late_ms, taken, left_out }) {
    this.history.push({ now, taken, left_out });
    while (this.history.length > 1 && this.history[1].now <= now - SPAN_MS) this.history.shift();
    const before = this.history[0];
    const pictures = taken - before.taken;
    const share = Math.min(1, (left_out - before.left_out) / pictures);
    const left = pictures >= FEWEST && share > MOST_LEFT;
    const kind = now - this.began_ms < FIRST_MS ? "" : late_ms > LATE_MS ? "late" : left ? "left" : "";
    if (now < this.until_ms) return this.words;
    if (kind) this.until_ms = now + HELD_MS;
    const values = { n: (late_ms / 1000).toFixed(1), share: percent(share) };
    this.words = kind ? word(`live.slow.${kind}`, values) : "";
    this.kind = kind;
    return this.words;
  }
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
