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
  #connection = null;
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

  /** Send a frame; its payload may be a part of its own. */
  send(...parts) {
    this.#kept.set(++this.#sent, parts);
    this.#keptBytes += lengthOf(parts);
    if (this.#pumping) return;
    this.#pumping = true; // what else happens in this turn of the loop travels with it
    setImmediate(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  /** Take a new connection. It becomes the one that counts once it has said HELLO. */
  accept(input, output = input) {
    const connection = new Connection(input, output);
    const decoder = new Decoder();
    input.on("data", (chunk) => {
      try {
        for (const frame of decoder.feed(chunk)) this.#take(connection, frame);
      } catch {
        connection.close();
      }
    });
    output.on("drain", () => this.#pump());
    connection.onclose(() => this.#lost(connection));
  }

  #take(connection, frame) {
    if (frame.kind === Kind.HELLO) return this.#resume(connection, JSON.parse(frame.payload));
    if (frame.kind === Kind.PING) return this.#pinged(connection.output);
    if (connection !== this.#connection) return; // a newer connection took its place
    this.on.heard();
    if (frame.kind >= Kind.OPEN) {
      this.#got += 1;
      this.#owe(frame.payload.length);
      this.on.receive(frame);
    } else if (frame.kind === Kind.ACK) this.#acknowledge(readCount(frame.payload));
    else if (frame.kind === Kind.BYE) this.on.bye();
  }

  /** A sign of life counts on any connection: a thread of the program may have one of its own. */
  #pinged(output) {
    this.on.heard();
    if (!output.writableNeedDrain) output.write(encode(Kind.PONG));
  }

  #resume(connection, hello) {
    if (hello.v !== VERSION || hello.got > this.#sent || hello.got < this.#acknowledged) {
      connection.close();
      return;
    }
    const old = this.#connection;
    this.#connection = connection;
    old?.close();
    this.#written = hello.got;
    this.#owed = 0; // the HELLO says it
    connection.output.write(encodeJson(Kind.HELLO, 0, { v: VERSION, got: this.#got }));
    this.on.attached();
    this.#acknowledge(hello.got);
    this.#pump();
  }

  #lost(connection) {
    if (connection !== this.#connection) return;
    this.#connection = null;
    this.on.detached();
  }

  #pump() {
    const output = this.#connection?.output;
    if (!output || this.#written === this.#sent || output.writableNeedDrain) return;
    output.cork();
    while (this.#written < this.#sent && !output.writableNeedDrain)
      for (const part of this.#kept.get(++this.#written)) output.write(part);
    output.uncork();
  }

  #acknowledge(n) {
    if (n > this.#sent) throw new Error(`${n} is acknowledged, but ${this.#sent} were sent`);
    const wasFull = this.full;
    while (this.#acknowledged < n) {
      const number = ++this.#acknowledged;
      this.#keptBytes -= lengthOf(this.#kept.get(number));
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
    if (this.#owed) this.#connection?.output.write(encode(Kind.ACK, 0, 0, count(this.#got)));
    this.#owed = 0;
  }
}

/** A socket, or two pipes. */
class Connection {
  constructor(input, output) {
    this.input = input;
    this.output = output;
  }

  onclose(done) {
    for (const end of [this.input, this.output]) end.on("error", () => {}).on("close", done);
  }

  close() {
    this.input.destroy();
    this.output.destroy();
  }
}

function lengthOf(parts) {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
