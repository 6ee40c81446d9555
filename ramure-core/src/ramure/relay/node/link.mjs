// One ordered, lossless way to the program over connections that come and go.
//
// Frames count from 1 in each direction. They carry no numbers: a connection starts with a HELLO
// that says how many have arrived, and the other side goes on with the next one. What is sent is
// kept until it is acknowledged.

import { Decoder, Kind, count, encode, encodeJson, readCount } from "./frames.mjs";

export const VERSION = 1;
const KEPT = 8 << 20; // bytes kept for the other side; beyond, streams wait
const ACK_BYTES = 1 << 20;
const ACK_DELAY = 30; // ms

export class Link {
  #socket = null;
  #kept = new Map();
  #keptBytes = 0;
  #sent = 0;
  #acknowledged = 0;
  #written = 0;
  #got = 0;
  #owed = 0;
  #timer = null;
  #pumping = false;

  /**
   * @param on receive(frame), room() when streams may go on, attached(), heard() at any sign of
   *   life, detached(), bye()
   */
  constructor(on) {
    this.on = on;
  }

  /** Streams wait while this is true; whatever is small and must go is sent all the same. */
  get full() {
    return this.#keptBytes >= KEPT;
  }

  send(frame) {
    this.#kept.set(++this.#sent, frame);
    this.#keptBytes += frame.length;
    if (this.#pumping) return;
    this.#pumping = true; // what else happens in this turn of the loop travels with it
    setImmediate(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  /** Take a new connection. It becomes the one that counts once it has said HELLO. */
  accept(socket) {
    const decoder = new Decoder();
    socket.on("data", (chunk) => {
      try {
        for (const frame of decoder.feed(chunk)) this.#take(socket, frame);
      } catch (error) {
        socket.destroy(error);
      }
    });
    socket.on("drain", () => this.#pump());
    socket.on("error", () => {}); // "close" follows
    socket.on("close", () => this.#lost(socket));
  }

  #take(socket, frame) {
    if (frame.kind === Kind.HELLO) return this.#resume(socket, JSON.parse(frame.payload));
    if (frame.kind === Kind.PING) return this.#pinged(socket);
    if (socket !== this.#socket) return; // a newer connection took its place
    this.on.heard();
    if (frame.kind >= Kind.OPEN) {
      this.#got += 1;
      this.#owe(frame.payload.length);
      this.on.receive(frame);
    } else if (frame.kind === Kind.ACK) this.#acknowledge(readCount(frame.payload));
    else if (frame.kind === Kind.BYE) this.on.bye();
  }

  /** A sign of life counts on any connection: a thread of the program may have one of its own. */
  #pinged(socket) {
    this.on.heard();
    if (!socket.writableNeedDrain) socket.write(encode(Kind.PONG));
  }

  #resume(socket, hello) {
    if (hello.v !== VERSION || hello.got > this.#sent || hello.got < this.#acknowledged) {
      socket.destroy();
      return;
    }
    const old = this.#socket;
    this.#socket = socket;
    old?.destroy();
    this.#written = hello.got;
    this.#owed = 0; // the HELLO says it
    socket.write(encodeJson(Kind.HELLO, 0, { v: VERSION, got: this.#got }));
    this.on.attached();
    this.#acknowledge(hello.got);
    this.#pump();
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.on.detached();
  }

  #pump() {
    const socket = this.#socket;
    if (!socket || this.#written === this.#sent || socket.writableNeedDrain) return;
    socket.cork();
    while (this.#written < this.#sent && !socket.writableNeedDrain)
      socket.write(this.#kept.get(++this.#written));
    socket.uncork();
  }

  #acknowledge(n) {
    if (n > this.#sent) throw new Error(`${n} is acknowledged, but ${this.#sent} were sent`);
    const wasFull = this.full;
    while (this.#acknowledged < n) {
      const number = ++this.#acknowledged;
      this.#keptBytes -= this.#kept.get(number).length;
      this.#kept.delete(number);
    }
    if (wasFull && !this.full) this.on.room();
  }

  #owe(bytes) {
    this.#owed += bytes + 1;
    if (this.#owed >= ACK_BYTES) this.#writeAck();
    else this.#timer ??= setTimeout(() => this.#writeAck(), ACK_DELAY);
  }

  #writeAck() {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#socket && this.#owed) this.#socket.write(encode(Kind.ACK, 0, 0, count(this.#got)));
    this.#owed = 0;
  }
}
