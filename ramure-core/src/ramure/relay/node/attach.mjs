// An attach: carries bytes between its standard streams and the daemon. It knows nothing, and may be
// killed and replaced at any time.

import { readFileSync } from "node:fs";
import { Socket, connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { SOCKET } from "./daemon.mjs";

export const GONE = 75; // exit code: there is no daemon
const PATIENCE = 10_000; // ms for a daemon that has just been started

/** @param first true where the daemon may not have come up yet */
export async function attach(first) {
  const until = Date.now() + (first ? PATIENCE : 0);
  for (;;) {
    const daemon = await dial();
    if (daemon) return carry(daemon);
    if (Date.now() >= until) break;
    await sleep(5);
  }
  console.error(`the relay's daemon does not run\n${log()}`);
  process.exit(GONE);
}

function dial() {
  return new Promise((resolve) => {
    const socket = connect(SOCKET);
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(null));
  });
}

function log() {
  try {
    return readFileSync("log", "utf8").slice(-2000);
  } catch {
    return "";
  }
}

function carry(daemon) {
  const input = stream(0) ?? process.stdin;
  const output = stream(1) ?? process.stdout;
  const leave = () => process.exit(0);
  for (const stream of [daemon, input, output]) stream.on("error", leave).on("close", leave);
  input.on("end", leave);
  input.pipe(daemon);
  daemon.pipe(output);
}

/** What process.stdout would be, but it would block the other direction, too, while nobody reads. */
function stream(fd) {
  try {
    return new Socket({ fd, readable: fd === 0, writable: fd !== 0 });
  } catch {
    return null; // neither a pipe nor a socket
  }
}
