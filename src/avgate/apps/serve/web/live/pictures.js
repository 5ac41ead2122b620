// Pictures of the camera as JPEG, at most 25 a second, each with the time at which it was taken.

const RATE = 25; // pictures a second
const WIDTH = 640; // pixels at most
const QUALITY = 0.8;

export class Pictures {
  /**
   * @param {HTMLVideoElement} video that shows the camera
   * @param {(taken_ms: number, jpeg: Blob) => void} got taken_ms: on the clock of performance.now()
   */
  constructor(video, got) {
    Object.assign(this, { video, got, due: 0, last: 0, busy: false, taken: 0, missed: 0, running: true });
    this.canvas = new OffscreenCanvas(1, 1);
    this.paint = this.canvas.getContext("2d", { alpha: false });
    this.next();
  }

  stop() {
    this.running = false;
  }

  next() {
    if (!this.running) return;
    const again = (now, frame) => { this.take(now, frame?.captureTime); this.next(); };
    if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(again);
    else setTimeout(() => again(performance.now()), 1000 / RATE);
  }

  async take(now, captured) {
    // The camera's own time where the browser knows it, and it makes sense.
    const taken = captured > now - 1000 && captured <= now ? captured : now;
    if (taken < this.due - 10 || taken <= this.last || !this.video.videoWidth) return;
    this.due = Math.max(this.due, taken - 2000 / RATE) + 1000 / RATE;
    this.last = taken;
    this.taken += 1;
    if (this.busy) { this.missed += 1; return; } // a slow machine takes fewer
    this.busy = true;
    try {
      const scale = Math.min(1, WIDTH / this.video.videoWidth);
      const size = [this.video.videoWidth, this.video.videoHeight].map((side) => Math.max(2, Math.round(side * scale)));
      if (this.canvas.width !== size[0] || this.canvas.height !== size[1]) [this.canvas.width, this.canvas.height] = size;
      this.paint.drawImage(this.video, 0, 0, ...size);
      const jpeg = await this.canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
      if (this.running) this.got(taken, jpeg);
    } finally {
      this.busy = false;
    }
  }
}
