// A recorded session: its results as a table with the columns of `avgate predict`, and its video where it is wanted.

const PRESENCE = ["face", "voice", "audio", "text"];
const TYPES = ["video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/webm;codecs=vp8,opus", "video/webm", "audio/webm;codecs=opus", "audio/mp4"];

export class Session {
  /**
   * @param {{targets: string[], gates: string[], level: number, demonstration?: boolean}} about what the results have
   * @param {MediaStream|null} stream to keep, or null
   */
  constructor(about, stream) {
    Object.assign(this, { about, results: [], video: null, began: new Date() });
    if (stream && globalThis.MediaRecorder) this.record(stream);
  }

  record(stream) {
    const kind = stream.getVideoTracks().length ? "video" : "audio";
    const mimeType = TYPES.find((type) => type.startsWith(kind) && MediaRecorder.isTypeSupported(type));
    const parts = [];
    this.recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
    this.recorder.ondataavailable = ({ data }) => parts.push(data);
    this.stopped = new Promise((done) => {
      this.recorder.onstop = () => {
        this.video = new Blob(parts, { type: this.recorder.mimeType.split(";")[0] });
        done();
      };
    });
    this.recorder.start(1000); // a piece each second, so that little is lost
  }

  /** @param {import("./results.js").Result} result */
  add(result) {
    this.results.push(result);
  }

  /** No more comes. */
  async stop() {
    if (this.recorder && this.recorder.state !== "inactive") this.recorder.stop();
    await this.stopped;
  }

  get seconds() {
    return this.results.length ? this.results.at(-1).time_s - this.results[0].time_s : 0;
  }

  /** A name for its files, with the time when it began. @param {string} suffix */
  name(suffix) {
    const two = (n) => String(n).padStart(2, "0");
    const at = this.began;
    const day = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
    return `session-${day}-${[at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join("")}${suffix}`;
  }

  get videoName() {
    return this.name(this.video?.type.endsWith("mp4") ? ".mp4" : ".webm");
  }

  /** The results as CSV; times count from the session's first result. @returns {string} */
  csv() {
    return toCsv(this.results, this.about);
  }
}

/**
 * Results as a table.
 * @param {import("./results.js").Result[]} results
 * @param {{targets: string[], gates: string[], level: number, demonstration?: boolean}} about
 */
export function toCsv(results, { targets, gates, level, demonstration = false }) {
  const first = results[0];
  const start = first?.time_s ?? 0;
  const number = (value) => (typeof value === "number" && Number.isFinite(value) ? (value + 0).toFixed(6).replace(/^-(0\.0+)$/, "$1") : "");
  const bounded = targets.filter((name) => first && name in (first.low ?? {}));
  const raw = targets.filter((name) => first && name in (first.raw ?? {}));
  const masks = first ? PRESENCE.filter((name) => name in first.present) : [];
  /** @type {[string, (r: any) => string][]} */
  const columns = [
    ["time_s", (r) => number(r.time_s - start)],
    ...targets.map((name) => [name, (r) => number(r.targets[name])]),
    ...bounded.flatMap((name) => [[`${name}_low`, (r) => number(r.low[name])], [`${name}_high`, (r) => number(r.high[name])]]),
    ...(bounded.length ? [["interval_level", () => String(level)]] : []),
    ...raw.map((name) => [`${name}_raw`, (r) => number(r.raw[name])]),
    ...masks.map((name) => [`${name}_present`, (r) => String(Number(r.present[name]))]),
    ...gates.map((name) => [name, (r) => number(r.gates[name])]),
    ...(demonstration ? [["weights", () => "demonstration"]] : []),
  ];
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const title = (name) => cell(/^[=+\-@\t\r]/.test(name) ? `'${name}` : name);
  const rows = [columns.map(([name]) => title(name)), ...results.map((result) => columns.map(([, value]) => value(result)))];
  return rows.map((row) => `${row.join(",")}\n`).join("");
}
