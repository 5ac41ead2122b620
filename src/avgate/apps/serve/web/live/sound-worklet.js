// Runs in the browser's sound thread: cuts what the microphone hears into pieces of 20 ms, 16-bit, one channel.

const PIECE_S = 0.02;

class Pieces extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(PIECE_S * sampleRate));
    this.filled = 0;
  }

  process([channels]) {
    const length = channels?.[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      const value = Math.max(-1, Math.min(1, sum / channels.length));
      this.piece[this.filled++] = Math.round(value * 32767);
      if (this.filled === this.piece.length) this.send(i, length);
    }
    return true;
  }

  send(i, length) {
    const samples = this.piece.slice();
    // When the last sample of the piece was there, on the context's clock.
    this.port.postMessage({ samples, end: currentTime + (i + 1 - length) / sampleRate }, [samples.buffer]);
    this.filled = 0;
  }
}

registerProcessor("pieces", Pieces);
