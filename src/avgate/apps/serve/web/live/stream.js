// The connection of a live session: pictures and sound go out, results come back.

import { socketAddress } from "../common/api.js";
import { word } from "../common/words.js";

const MOST_WAITING = 400_000; // bytes that may wait to be sent; above, pictures are left out
const [PICTURE, SOUND] = [1, 2];
const RESTART = 1012; // a WebSocket's code for a server that is being stopped

export class Stream {
  /**
   * @param {object} settings the first message
   * @param {{ready: Function, results: Function, ended: (error: string) => void}} listener
   */
  constructor(settings, listener) {
    Object.assign(this, { listener, start: 0, left_out: 0, ready: false, ended: false });
    this.socket = new WebSocket(socketAddress("api/live"));
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.socket.send(JSON.stringify(settings));
    this.socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    this.socket.onclose = ({ code }) => this.finish(word(code === RESTART ? "live.error.stopped" : "live.error.closed"));
  }

  /** Milliseconds of performance.now() as the stream's seconds. */
  seconds(ms) {
    return (ms - this.start) / 1000;
  }

  take(message) {
    if (message.error) this.finish(message.hint ? word("error.hint", { what: message.error, hint: message.hint }) : message.error);
    else if (message.ready) this.begin(message);
    else if (message.results) this.listener.results(message);
    if (message.end) this.finish("", message.notes ?? []);
  }

  begin(message) {
    this.start = performance.now(); // its time counts from here: loading a model takes seconds
    this.ready = true;
    this.listener.ready(message);
  }

  finish(error, notes = []) {
    if (this.ended) return;
    this.ended = true;
    this.ready = false;
    this.socket.close();
    this.listener.ended(error, notes);
  }

  async picture(taken_ms, jpeg) {
    if (this.socket.bufferedAmount > MOST_WAITING) { this.left_out += 1; return; }
    this.send(PICTURE, taken_ms, new Uint8Array(await jpeg.arrayBuffer()));
  }

  sound(begin_ms, samples) {
    this.send(SOUND, begin_ms, new Uint8Array(samples.buffer));
  }

  send(kind, ms, bytes) {
    const seconds = this.seconds(ms);
    if (!this.ready || this.closing || seconds < 0) return; // what was before the beginning
    const message = new Uint8Array(9 + bytes.length);
    message[0] = kind;
    new DataView(message.buffer).setFloat64(1, seconds, true);
    message.set(bytes, 9);
    this.socket.send(message);
  }

  /** No more is sent; the last results still come. */
  end() {
    this.closing = true;
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ end: true }));
    else this.finish("");
    setTimeout(() => this.finish(""), 5000); // a server that doesn't answer any more
  }
}
