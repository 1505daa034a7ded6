// When what was sent had been spoken: places in the sent audio (ms) as times on the context's clock (s).

const KEPT = 3000; // packets of 20 ms: a minute

export class SentClock {
  constructor(rate) {
    this.rate = rate;
    this.samples = 0;
    this.packets = [];
  }

  // How much was sent.
  get ms() {
    return (this.samples * 1000) / this.rate;
  }

  // A packet was sent whose last sample was captured at `end`.
  sent(samples, end) {
    this.samples += samples;
    this.packets.push({ until: this.samples, end });
    if (this.packets.length > KEPT) this.packets.shift();
  }

  // When the sample `ms` into all that was sent was captured; null where that is not known any more.
  timeOf(ms) {
    const sample = (ms * this.rate) / 1000;
    const packet = this.packets.find(({ until }) => until >= sample);
    if (!packet || sample < this.packets[0].until - this.rate) return null;
    return packet.end - (packet.until - sample) / this.rate;
  }
}
