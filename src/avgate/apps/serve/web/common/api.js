// Talking to the server.

import { word } from "./words.js";

const base = new URL(".", document.baseURI);

/** The address of a path of the server. @param {string} path such as "api/jobs" */
export const address = (path) => new URL(path, base).href;

/** The address of a WebSocket of the server. @param {string} path */
export const socketAddress = (path) => address(path).replace(/^http/, "ws");

/** The address of one of a job's files. @param {string} job @param {string} name */
export const resultAddress = (job, name) => address(`api/jobs/${job}/results/${encodeURIComponent(name)}`);

/** What the server says is wrong. */
export class Refusal extends Error {
  /** @param {number} status @param {{error?: string, hint?: string}} said */
  constructor(status, said) {
    const what = said.error || `HTTP ${status}`;
    super(said.hint ? word("error.hint", { what, hint: said.hint }) : what);
    this.status = status;
  }
}

/**
 * Ask the server.
 * @param {string} path
 * @param {RequestInit} options
 * @returns {Promise<Response>} one that is ok
 * @throws {Refusal} the server refuses; TypeError with words where it can't be reached
 */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new TypeError(word("error.offline"));
  }
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

/** Ask for JSON. @param {string} path @param {RequestInit} options @returns {Promise<any>} */
export const askJson = async (path, options = {}) => (await ask(path, options)).json();
