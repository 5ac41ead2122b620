// A file on its way to the server, piece by piece (tus 1.0), so that it goes on where it was cut.

import { address, ask, Refusal } from "../common/api.js";

const PIECE = 4 << 20; // bytes
const WAITS = [1, 2, 4, 8, 15]; // seconds from one try to the next, where the server can't be reached
const LATER = [408, 409, 423, 429, 502, 503, 504]; // what the server refuses for now only
const TUS = { "Tus-Resumable": "1.0.0" };

/** @typedef {"waiting"|"sending"|"paused"|"offline"|"held"|"failed"|"sent"|"cancelled"} UploadState */

export class Upload {
  /**
   * @param {Blob} file
   * @param {string} name
   * @param {Record<string, string>} options metadata beside the name
   * @param {(upload: Upload) => void} changed called whenever it changed
   */
  constructor(file, name, options, changed) {
    Object.assign(this, { file, name, options, changed, done: 0, error: "", job: "" });
    /** @type {UploadState} */
    this.state = "waiting";
    this.key = `avgate-upload ${name} ${file.size} ${file.lastModified ?? ""}`;
    this.url = recall(this.key);
    this.sure = !this.url; // whether `done` is what the server has
    this.stop = new AbortController();
  }

  /** Send what is left; ends when it is sent, paused, cancelled or refused. */
  async send() {
    this.stop = new AbortController();
    this.set("sending");
    for (let tries = 0; ["sending", "offline", "held"].includes(this.state); ) {
      try {
        if (!this.url) await this.create();
        if (!this.sure) await this.find();
        if (!this.job) await this.sendPiece();
        tries = 0;
        this.set(this.job ? "sent" : "sending");
      } catch (error) {
        if (this.stop.signal.aborted) return;
        if (!this.mend(error)) return;
        await this.wait(WAITS[Math.min(tries++, WAITS.length - 1)]);
      }
    }
    forget(this.key);
  }

  /** Stop for now. */
  pause() {
    this.sure = false;
    this.set("paused");
    this.stop.abort();
  }

  /** Stop for good, and let the server forget it. */
  cancel() {
    this.set("cancelled");
    this.stop.abort();
    forget(this.key);
    if (this.url) ask(this.url, { method: "DELETE", headers: TUS }).catch(() => {}); // it expires there in any case
  }

  /** @param {UploadState} state */
  set(state) {
    if (this.state === "cancelled") return;
    this.state = state;
    this.changed(this);
  }

  async create() {
    const metadata = Object.entries({ filename: this.name, ...this.options });
    const coded = metadata.map(([key, value]) => `${key} ${base64(value)}`).join(",");
    const headers = { ...TUS, "Upload-Length": String(this.file.size), "Upload-Metadata": coded };
    const answer = await ask("api/uploads/", { method: "POST", headers, signal: this.stop.signal });
    this.url = new URL(answer.headers.get("Location"), address("api/uploads/")).href;
    this.sure = true;
    this.done = 0;
    this.job = answer.headers.get("Avgate-Job") ?? "";
    remember(this.key, this.url);
  }

  /** Ask how much of it the server has. */
  async find() {
    const answer = await ask(this.url, { method: "HEAD", headers: TUS, signal: this.stop.signal }).catch(async (error) => {
      if (!(error instanceof Refusal) || ![404, 410].includes(error.status)) throw error;
      const known = await ask(`api/jobs/${this.id}`, { signal: this.stop.signal }).catch(() => null);
      if (known) this.job = this.id; // it had come whole, and only the answer was lost
      else Object.assign(this, { url: "", done: 0 }); // it expired
      return null;
    });
    this.sure = true;
    if (!answer) return;
    this.done = Number(answer.headers.get("Upload-Offset"));
    this.job = answer.headers.get("Avgate-Job") ?? (this.done >= this.file.size ? this.id : "");
  }

  async sendPiece() {
    if (!this.url) return; // it is created anew
    const body = this.file.slice(this.done, this.done + PIECE);
    const headers = { ...TUS, "Upload-Offset": String(this.done), "Content-Type": "application/offset+octet-stream" };
    const answer = await ask(this.url, { method: "PATCH", headers, body, signal: this.stop.signal });
    this.done = Number(answer.headers.get("Upload-Offset") ?? this.done + body.size);
    this.job = answer.headers.get("Avgate-Job") ?? (this.done >= this.file.size ? this.id : "");
  }

  /** What the server calls it; its job is called the same. Empty before it began. */
  get id() {
    return this.url && new URL(this.url).pathname.split("/").filter(Boolean).pop();
  }

  /** Whether it makes sense to try again after that error. @param {Error} error @returns {boolean} */
  mend(error) {
    this.sure = !this.url;
    if (!(error instanceof Refusal)) {
      this.set("offline");
      return true;
    }
    this.error = error.message;
    if (LATER.includes(error.status)) {
      this.set("held");
      return true;
    }
    if (![401, 403].includes(error.status)) forget(this.key);
    this.set("failed");
    return false;
  }

  /** Wait until it is worth another try. @param {number} seconds */
  wait(seconds) {
    return new Promise((resume) => {
      const done = () => {
        clearTimeout(timer);
        removeEventListener("online", done);
        this.stop.signal.removeEventListener("abort", done);
        resume();
      };
      const timer = setTimeout(done, 1000 * seconds);
      addEventListener("online", done);
      this.stop.signal.addEventListener("abort", done);
    });
  }
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

// Where the browser keeps nothing for pages, an upload isn't found again after the page was closed, and works otherwise.
function recall(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function remember(key, url) {
  try {
    localStorage.setItem(key, url);
  } catch { /* see above */ }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch { /* see above */ }
}
