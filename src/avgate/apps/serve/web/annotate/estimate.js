// The estimate of a recording, to be shown beside a rating, and by how much the rating comes later.

import { ask, resultAddress } from "../common/api.js";
import { known } from "../common/format.js";
import { columns, STEP_S } from "./rating.js";

const [MOST_S, LEAST_RATED_S, LEAST_R, LEAST_CHANGE] = [5, 10, 0.3, 0.02];

/** @typedef {{time_s: number[], value: number[], low?: number[], high?: number[]}} Estimate */

/**
 * A job's estimate of one target.
 * @param {import("../videos/jobs.js").Job} job
 * @param {string} target
 * @returns {Promise<Estimate|null>}
 */
export async function loadEstimate(job, target) {
  const [name] = job.results.filter((each) => each.endsWith(".csv")).sort((one, other) => one.length - other.length);
  if (!name) return null;
  const table = columns(await (await ask(resultAddress(job.id, name))).text());
  if (!table[target]) return null;
  return { time_s: table.time_s, value: table[target], low: table[`${target}_low`], high: table[`${target}_high`] };
}

/** The newest value at a time. @param {Estimate|null} estimate @param {number} seconds @returns {number} NaN where none */
export function valueAt(estimate, seconds) {
  if (!estimate || !(seconds >= estimate.time_s[0])) return NaN;
  let lo = 0, hi = estimate.time_s.length - 1;
  while (lo < hi) {
    const middle = (lo + hi + 1) >> 1;
    if (estimate.time_s[middle] <= seconds) lo = middle; else hi = middle - 1;
  }
  return estimate.value[lo];
}

/**
 * By how much a rating follows the estimate: the shift at which they correlate most.
 * @param {import("./rating.js").Rating} rating
 * @param {Estimate|null} estimate
 * @returns {{delay_s: number, r: number}|null} null where too little is rated or changes to tell
 */
export function ownDelay(rating, estimate) {
  if (!estimate || rating.seconds < LEAST_RATED_S) return null;
  let best = null;
  for (let delay_s = 0; delay_s <= MOST_S + 1e-9; delay_s += 0.1) {
    const pairs = [];
    rating.values.forEach((value, i) => {
      const said = valueAt(estimate, i * STEP_S - delay_s);
      if (known(value) && known(said)) pairs.push([value, said]);
    });
    const r = correlation(pairs);
    if (pairs.length * STEP_S >= LEAST_RATED_S / 2 && r >= LEAST_R && r > (best?.r ?? 0)) best = { delay_s, r };
  }
  return best;
}

function correlation(pairs) {
  const mean = (k) => pairs.reduce((sum, pair) => sum + pair[k], 0) / pairs.length;
  const means = [mean(0), mean(1)];
  const moment = (j, k) => pairs.reduce((sum, pair) => sum + (pair[j] - means[j]) * (pair[k] - means[k]), 0) / pairs.length;
  const [one, other] = [moment(0, 0), moment(1, 1)];
  if (!(Math.min(one, other) > LEAST_CHANGE ** 2)) return NaN;
  return moment(0, 1) / Math.sqrt(one * other);
}
