// The newest results of a live session: half a minute of them, and what is said about them.

import { known, median } from "../common/format.js";

export const WINDOW_S = 30;
const RECENT_S = 2;
const STALLED_MS = 1000; // without a result for longer, the last ones no longer tell how late they come

/** @typedef {{time_s: number, targets: object, low: object, high: object, gates: object, present: object,
 *   delay_s: number, looked: boolean, heard: boolean,
 *   face_box: number[]|null, others: number}} Result */

export class Results {
  constructor() {
    /** @type {{result: Result, late_ms: number, came_ms: number}[]} */
    this.kept = [];
    this.count = this.skipped = 0; // skipped: no face was looked for
  }

  /** @param {Result} result @param {number} came_ms when it came, on the clock of the stream, in milliseconds */
  add(result, came_ms) {
    this.count += 1;
    if (result.looked === false) this.skipped += 1;
    this.kept.push({ result, came_ms, late_ms: came_ms - 1000 * result.time_s });
    const oldest = result.time_s - WINDOW_S - 1;
    let old = 0;
    while (this.kept[old].result.time_s < oldest) old += 1;
    if (old > 50) this.kept.splice(0, old); // not one by one
  }

  /** @returns {Result|undefined} */
  get newest() {
    return this.kept.at(-1)?.result;
  }

  /** Those of the last seconds. @param {number} seconds */
  recent(seconds = RECENT_S) {
    const from = (this.newest?.time_s ?? 0) - seconds;
    return this.kept.filter((each) => each.result.time_s > from);
  }

  /** How late results are, in milliseconds, in the middle of the last two seconds; or how old the newest is where none comes. @param {number} now_ms */
  lateness(now_ms) {
    const last = this.kept.at(-1);
    if (last && now_ms - last.came_ms > STALLED_MS) return now_ms - 1000 * last.result.time_s;
    return median(this.recent().map((each) => each.late_ms));
  }

  /** Whether they rest on sounds in which nobody speaks, without a face. @returns {boolean} */
  get weak() {
    return !this.present("face") && this.present("voice") === false && this.present("audio") === true;
  }

  /** Results a second that came in the two seconds before. @param {number} now_ms */
  rate(now_ms) {
    const seconds = Math.min(RECENT_S, Math.max(0.5, now_ms / 1000));
    return this.kept.filter((each) => each.came_ms > now_ms - 1000 * seconds).length / seconds;
  }

  /** Whether a source was there in the last second. @param {string} mask such as "face" @returns {boolean|null} */
  present(mask, seconds = 1) {
    const states = this.recent(seconds).map((each) => each.result.present[mask]).filter((state) => state !== undefined);
    return states.length ? states.some(Boolean) : null;
  }
}

/** Whether one result follows another so soon that a line may join them. @param {Result} one @param {Result} next */
export const joined = (one, next) => next.time_s - one.time_s < 0.5;

/** The interval of a target. @param {Result} result @param {string} name @returns {[number, number]|null} */
export function ends(result, name) {
  const [low, high] = [result.low?.[name], result.high?.[name]];
  return known(low) && known(high) ? [low, high] : null;
}
