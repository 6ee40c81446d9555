// What travels on the stream: length of the payload, kind, lane, channel, payload. See docs/relay.md.

export const HEADER = 10;
export const MAX_PAYLOAD = 8 << 20;

/** Kinds below OPEN are about the link itself and are not numbered. */
export const Kind = {
  HELLO: 0,
  ACK: 1,
  PING: 2,
  PONG: 3,
  BYE: 4,
  OPEN: 16,
  MESSAGE: 17,
  DATA: 18,
  END: 19,
  STOP: 20,
  CREDIT: 21,
  CLOSE: 22,
};

const NOTHING = Buffer.alloc(0);

export function encode(kind, channel = 0, lane = 0, payload = NOTHING) {
  const frame = Buffer.allocUnsafe(HEADER + payload.length);
  writeHeader(frame, kind, channel, lane, payload.length);
  payload.copy(frame, HEADER);
  return frame;
}

/** What goes before a payload that is too large to be copied. */
export function header(kind, channel, lane, length) {
  return writeHeader(Buffer.allocUnsafe(HEADER), kind, channel, lane, length);
}

function writeHeader(frame, kind, channel, lane, length) {
  frame.writeUInt32BE(length, 0);
  frame[4] = kind;
  frame[5] = lane;
  frame.writeUInt32BE(channel, 6);
  return frame;
}

export function encodeJson(kind, channel, value) {
  return encode(kind, channel, 0, Buffer.from(JSON.stringify(value)));
}

/** A count of bytes or frames as a payload; 48 bits are more than there will ever be. */
export function count(value) {
  const payload = Buffer.allocUnsafe(6);
  payload.writeUIntBE(value, 0, 6);
  return payload;
}

export function readCount(payload) {
  return payload.readUIntBE(0, 6);
}

/** Splits what arrives into frames. */
export class Decoder {
  #rest = NOTHING;

  *feed(chunk) {
    let data = this.#rest.length ? Buffer.concat([this.#rest, chunk]) : chunk;
    while (data.length >= HEADER) {
      const length = data.readUInt32BE(0);
      if (length > MAX_PAYLOAD) throw new Error(`a frame of ${length} bytes`);
      if (data.length < HEADER + length) break;
      const payload = data.subarray(HEADER, HEADER + length);
      yield { kind: data[4], lane: data[5], channel: data.readUInt32BE(6), payload };
      data = data.subarray(HEADER + length);
    }
    this.#rest = data;
  }
}
