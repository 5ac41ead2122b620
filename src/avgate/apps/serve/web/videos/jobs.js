// The server's jobs as they are now, for whoever wants to know of them.

import { address, askJson } from "../common/api.js";

const AGAIN = 5000; // milliseconds until a stream that the server refused is asked for again

/** @typedef {{id: string, name: string, size: number, state: string, stage: string, progress: number, created: string,
 *   duration_s: number|null, options: {model: string}, error: string, hint: string, notes: string[], results: string[]}} Job */

/** @type {Map<string, Job>} newest first where the server gave them so */
export const jobs = new Map();
const listeners = new Set();

/** Call something with each job that is new or changed, and with (job, true) when it is gone. @param {Function} listener */
export function onJob(listener) {
  listeners.add(listener);
  for (const job of jobs.values()) listener(job, false);
}

/** Take what the server says of a job. @param {Job} job */
export function take(job) {
  jobs.set(job.id, job);
  for (const listener of listeners) listener(job, false);
}

/** Forget a job. @param {string} id */
export function drop(id) {
  const job = jobs.get(id);
  jobs.delete(id);
  if (job) for (const listener of listeners) listener(job, true);
}

/**
 * Ask for the newest jobs, or for those before the oldest known one.
 * @param {string} before time of creation; empty for the newest
 * @returns {Promise<Job[]>}
 */
export async function askJobs(before = "") {
  const answer = await askJson(`api/jobs?limit=50${before && `&before=${encodeURIComponent(before)}`}`);
  const found = Array.isArray(answer) ? answer : answer.jobs;
  for (const job of [...found].reverse()) take(job);
  return found;
}

/** Follow what happens to jobs, for as long as the page is open. */
export function follow() {
  const events = new EventSource(address("api/events"));
  let opened = false;
  events.addEventListener("job", (event) => take(JSON.parse(event.data)));
  events.addEventListener("gone", (event) => drop(JSON.parse(event.data).id));
  events.addEventListener("open", () => {
    if (opened) askJobs().catch(() => {}); // something may have happened meanwhile
    opened = true;
  });
  events.addEventListener("error", () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
}
