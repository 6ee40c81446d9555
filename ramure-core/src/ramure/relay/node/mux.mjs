// Channels on one link. A channel is a process, a door (a listening socket) or a connection; its
// lanes are byte streams in one direction each, with a window of credit of their own.

import { Kind, count, encode, encodeJson, header, readCount } from "./frames.mjs";

export const WINDOW = 1 << 20; // bytes of one lane that may be on their way
const CHUNK = 64 << 10;

export class Mux {
  #link;
  #channels = new Map();
  #next = 2; // the program's own are odd

  /** @param opened called with each new channel and what it is to be */
  constructor(link, opened) {
    this.#link = link;
    this.opened = opened;
  }

  get full() {
    return this.#link.full;
  }

  open(what) {
    const channel = this.#add(this.#next);
    this.#next += 2;
    this.send(encodeJson(Kind.OPEN, channel.id, what));
    return channel;
  }

  #add(id) {
    const channel = new Channel(this, id);
    this.#channels.set(id, channel);
    return channel;
  }

  send(...parts) {
    this.#link.send(...parts);
  }

  forget(channel) {
    this.#channels.delete(channel.id);
  }

  receive(frame) {
    if (frame.kind === Kind.OPEN) {
      this.opened(this.#add(frame.channel), JSON.parse(frame.payload));
    } else this.#channels.get(frame.channel)?.receive(frame); // unknown: it crossed our CLOSE
  }

  /** The link has room again. */
  room() {
    for (const channel of this.#channels.values()) channel.room();
  }
}

export class Channel {
  #mux;
  #incoming = new Map();
  #outgoing = new Map();
  onmessage = (_message) => {};
  onclose = () => {};
  #over = false;

  constructor(mux, id) {
    this.#mux = mux;
    this.id = id;
  }

  get linkIsFull() {
    return this.#mux.full;
  }

  incoming(lane) {
    if (!this.#incoming.has(lane)) this.#incoming.set(lane, new Incoming(this, lane));
    return this.#incoming.get(lane);
  }

  outgoing(lane) {
    if (!this.#outgoing.has(lane)) this.#outgoing.set(lane, new Outgoing(this, lane));
    return this.#outgoing.get(lane);
  }

  send(kind, lane, payload) {
    if (!this.#over) this.#mux.send(encode(kind, this.id, lane, payload));
  }

  data(lane, payload) {
    if (this.#over) return;
    this.#mux.send(header(Kind.DATA, this.id, lane, payload.length), payload);
  }

  message(value) {
    if (!this.#over) this.#mux.send(encodeJson(Kind.MESSAGE, this.id, value));
  }

  /** Tell the other side that this channel is over, and forget it. */
  close() {
    this.send(Kind.CLOSE, 0);
    this.#over = true;
    this.#mux.forget(this);
  }

  receive({ kind, lane, payload }) {
    if (kind === Kind.DATA) this.incoming(lane).feed(payload);
    else if (kind === Kind.END) this.incoming(lane).end();
    else if (kind === Kind.CREDIT) this.outgoing(lane).grant(readCount(payload));
    else if (kind === Kind.STOP) this.outgoing(lane).stop();
    else if (kind === Kind.MESSAGE) this.onmessage(JSON.parse(payload));
    else if (kind === Kind.CLOSE) {
      this.#over = true;
      this.#mux.forget(this);
      this.onclose();
    }
  }

  room() {
    for (const lane of this.#outgoing.values()) lane.pump();
  }
}

/** What comes from the program. Waits for a sink; gives credit for what the sink has taken. */
class Incoming {
  #channel;
  #lane;
  #sink = null;
  #waiting = [];
  #ended = false;
  #taken = 0;

  constructor(channel, lane) {
    this.#channel = channel;
    this.#lane = lane;
  }

  /** Write all that has come and will come to a stream, and end it in the end. */
  into(sink) {
    this.#sink = sink;
    sink.on("error", () => this.stop());
    for (const data of this.#waiting.splice(0)) this.feed(data);
    if (this.#ended) sink.end();
  }

  feed(data) {
    if (this.#sink) this.#sink.write(data, (error) => (error ? this.stop() : this.#credit(data.length)));
    else this.#waiting.push(Buffer.from(data));
  }

  end() {
    this.#ended = true;
    this.#sink?.end();
  }

  #credit(bytes) {
    this.#taken += bytes;
    if (this.#taken < WINDOW / 2) return;
    this.#channel.send(Kind.CREDIT, this.#lane, count(this.#taken));
    this.#taken = 0;
  }

  /** Nobody takes it any more. */
  stop() {
    if (!this.#ended) this.#channel.send(Kind.STOP, this.#lane);
    this.#ended = true;
  }
}

/** What goes to the program: as much as it has given credit for and the link has room for. */
class Outgoing {
  #channel;
  #lane;
  #credit = WINDOW;
  #source = null;
  #waiting = null; // what was read and could not be sent yet
  #left = 0;
  #ending = false;
  ended = false;
  seen = 0;
  onended = () => {};

  constructor(channel, lane) {
    this.#channel = channel;
    this.#lane = lane;
  }

  /** True where it waits for whoever reads it: that is nobody else's affair. */
  get starved() {
    return this.#waiting !== null && this.#credit === 0;
  }

  /** Read a stream to its end; what is beyond its first `limit` bytes is thrown away. */
  from(source, limit) {
    this.#source = source;
    this.#left = limit ?? Infinity;
    source.on("data", (data) => this.#read(data));
    source.on("end", () => this.end());
    source.on("error", () => this.end());
  }

  #read(data) {
    if (this.ended) return;
    this.seen += data.length;
    const kept = data.subarray(0, this.#left);
    this.#left -= kept.length;
    if (!kept.length) return;
    this.#waiting = this.#waiting ? Buffer.concat([this.#waiting, kept]) : kept;
    this.pump();
    if (this.#waiting) this.#source.pause();
  }

  pump() {
    while (this.#waiting && this.#credit && !this.#channel.linkIsFull) {
      const size = Math.min(this.#waiting.length, this.#credit, CHUNK);
      this.#channel.data(this.#lane, this.#waiting.subarray(0, size));
      this.#credit -= size;
      this.#waiting = size < this.#waiting.length ? this.#waiting.subarray(size) : null;
    }
    if (this.#waiting || this.ended) return;
    if (this.#ending) this.#end();
    else if (this.#source?.isPaused()) this.#source.resume();
  }

  grant(bytes) {
    this.#credit += bytes;
    this.pump();
  }

  /** After what still waits, tell the program that no more will come. */
  end() {
    this.#ending = true;
    if (!this.#waiting && !this.ended) this.#end();
  }

  #end() {
    this.ended = true;
    this.#channel.send(Kind.END, this.#lane);
    this.onended();
  }

  /** The program does not read it any more. */
  stop() {
    this.ended = true;
    this.#waiting = null;
    this.#source?.destroy();
    this.onended();
  }
}
