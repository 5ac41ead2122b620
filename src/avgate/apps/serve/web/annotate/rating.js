// What a rater drew: a value for each 40 ms of a recording, as it was drawn; the rater's delay is taken off on the way out.

import { known } from "../common/format.js";

export const STEP_S = 0.04;

export class Rating {
  constructor() {
    /** @type {(number|undefined)[]} */
    this.values = [];
    /** What it is called on the server, where it is as it was saved there. */
    this.stored = "";
    /** Whether the estimate was seen while it was drawn. */
    this.anchored = false;
  }

  /**
   * Draw a value for the time from one moment to another.
   * @param {number} from_s
   * @param {number} to_s
   * @param {number} value in [-1, 1]
   */
  draw(from_s, to_s, value) {
    const first = Math.max(0, Math.ceil(from_s / STEP_S - 1e-6));
    const end = Math.max(first, Math.ceil(to_s / STEP_S - 1e-6));
    for (let i = first; i < end; i++) this.values[i] = value;
    if (end > first) this.stored = "";
  }

  clear() {
    this.values = [];
    this.stored = "";
    this.anchored = false;
  }

  /** Whether nothing is rated. */
  get empty() {
    return !this.values.length;
  }

  /** Seconds that are rated. */
  get seconds() {
    return this.values.reduce((count, value) => count + known(value), 0) * STEP_S;
  }

  /**
   * What is drawn, each at the moment that it is about.
   * @param {number} delay_s of the rater
   * @returns {{time_s: number, value: number}[]}
   */
  points(delay_s) {
    const points = [];
    this.values.forEach((value, i) => {
      const time_s = i * STEP_S - delay_s;
      if (known(value) && time_s > -1e-9) points.push({ time_s: Math.max(0, time_s), value });
    });
    return points;
  }

  /**
   * A table of times and values, from the first to the last that is rated; what isn't rated between is an empty cell.
   * @param {string} target
   * @param {number} delay_s
   * @returns {string}
   */
  csv(target, delay_s) {
    const rows = [];
    for (let i = 0; i < this.values.length; i++) {
      const [time_s, value] = [i * STEP_S - delay_s, this.values[i]];
      if (time_s < -1e-9 || (!rows.length && !known(value))) continue;
      rows.push(`${Math.max(0, time_s).toFixed(3)},${known(value) ? value.toFixed(4) : ""}\n`);
    }
    return `time_s,${target}\n${rows.join("")}`;
  }

  /** Take over what was saved. @param {{time_s: number, value: number}[]} points @param {number} delay_s */
  load(points, delay_s) {
    this.clear();
    for (const { time_s, value } of points) {
      if (known(value)) this.values[Math.round((time_s + delay_s) / STEP_S)] = value;
    }
  }
}

/**
 * Columns of a table with a line of titles; empty cells are NaN.
 * @param {string} text
 * @returns {Record<string, number[]>}
 */
export function columns(text) {
  const [titles, ...rows] = text.trim().split(/\r?\n/).map((line) => line.split(","));
  const number = (cell) => (cell ? Number(cell) : NaN);
  return Object.fromEntries(titles.map((title, k) => [title, rows.map((row) => number(row[k]))]));
}
