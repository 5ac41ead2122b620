// A recorded session: its results as the files of `avgate predict`, and its video where it is wanted.

const PRESENCE = ["face", "voice", "audio", "text"];
const QUALITY = ["looked", "heard"]; // whether the face was searched, and the sound analysed, for a result
const TYPES = ["video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/webm;codecs=vp8,opus", "video/webm", "audio/webm;codecs=opus", "audio/mp4"];

/** @typedef {{targets: string[], gates: string[], level: number, model: string, demonstration?: boolean,
 *   notes?: string[], provenance?: object}} About */

export class Session {
  /**
   * @param {About} about what the results have, and where they come from
   * @param {MediaStream|null} stream to keep, or null
   */
  constructor(about, stream) {
    Object.assign(this, { about, results: [], video: null, running: true, began: new Date(), began_ms: performance.now() });
    this.kept = new Set();
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

  /** Note what was saved. @param {...("results"|"video")} parts */
  keep(...parts) {
    for (const part of parts) this.kept.add(part);
  }

  /** Whether something would be lost with the page. @returns {boolean} */
  get unsaved() {
    if (this.running) return true;
    return (this.results.length > 0 && !this.kept.has("results")) || (this.video?.size > 0 && !this.kept.has("video"));
  }

  /** How long it has been running. */
  get elapsed_s() {
    return (performance.now() - this.began_ms) / 1000;
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

  /** The same as the JSON file of `avgate predict`, with where the numbers come from. @returns {string} */
  json() {
    return toJson(this.results, this.about, this.name(""), this.began);
  }
}

/** The columns that a session has: those of the masks, and of the targets with intervals, and with values before smoothing. */
function columnsOf(results, targets) {
  const first = results[0];
  return {
    start: first?.time_s ?? 0,
    masks: first ? PRESENCE.filter((name) => name in first.present) : [],
    bounded: targets.filter((name) => first && name in (first.low ?? {})),
    raw: targets.filter((name) => first && name in (first.raw ?? {})),
  };
}

/**
 * Results as a table.
 * @param {import("./results.js").Result[]} results
 * @param {About} about
 */
export function toCsv(results, { targets, gates, level, demonstration = false }) {
  const { start, masks, bounded, raw } = columnsOf(results, targets);
  const number = (value) => (typeof value === "number" && Number.isFinite(value) ? (value + 0).toFixed(6).replace(/^-(0\.0+)$/, "$1") : "");
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
    ...QUALITY.map((name) => [name, (r) => String(Number(r[name] ?? true))]),
    ["delay_s", (r) => number(r.delay_s)],
  ];
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const title = (name) => cell(/^[=+\-@\t\r]/.test(name) ? `'${name}` : name);
  const rows = [columns.map(([name]) => title(name)), ...results.map((result) => columns.map(([, value]) => value(result)))];
  return rows.map((row) => `${row.join(",")}\n`).join("");
}

/**
 * Results as the JSON that `avgate report` reads.
 * @param {import("./results.js").Result[]} results
 * @param {About} about
 * @param {string} source what the session is called
 * @param {Date} began when it began
 */
export function toJson(results, about, source, began) {
  const { start, masks, bounded, raw } = columnsOf(results, about.targets);
  const rounded = (value, decimals = 6) => (Number.isFinite(value) ? Number(value.toFixed(decimals)) + 0 : null);
  const column = (of) => results.map((result) => rounded(of(result)));
  const columns = (names, part) => Object.fromEntries(names.map((name) => [name, column((result) => result[part][name])]));
  const document = {
    source,
    notes: about.notes ?? [],
    provenance: { ...about.provenance, model: about.model, recorded: began.toISOString() },
    frames: results.length,
    time_s: column((result) => result.time_s - start),
    targets: columns(about.targets, "targets"),
    raw: columns(raw, "raw"),
    present: Object.fromEntries(masks.map((name) => [name, results.map((result) => Boolean(result.present[name]))])),
    gates: columns(about.gates, "gates"),
    ...Object.fromEntries(QUALITY.map((name) => [name, results.map((result) => result[name] ?? true)])),
    delay_s: column((result) => result.delay_s),
  };
  if (bounded.length) Object.assign(document, { level: about.level, low: columns(bounded, "low"), high: columns(bounded, "high") });
  if (masks.includes("face")) document.face_box = results.map(({ face_box }) => face_box?.map((x) => rounded(x, 4)) ?? null);
  return `${JSON.stringify(document)}\n`;
}
