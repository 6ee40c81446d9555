// Calls: how an attach reaches the daemon that is no more than a shell and two `cat`. A Node.js of its
// own would take 45 MB, 50 ms to start, and several times the processor's time for what it carries.
//
// It makes two named pipes and says their name on another one, which is always there.

import { spawnSync } from "node:child_process";
import { constants, openSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { createInterface } from "node:readline";

const CALLS = "calls";
const PID = "pid"; // by which an attach sees that there is a daemon
const SILENT = 15_000; // ms; a pipe whose writer has gone before it was opened has no end
const { O_NONBLOCK, O_RDONLY, O_RDWR } = constants;

/** @param accept called with each attach's input and output */
export function listen(accept) {
  const { status, stderr, error } = spawnSync("mkfifo", ["-m", "600", CALLS]);
  if (status !== 0) throw error ?? new Error(`mkfifo: ${stderr}`);
  // Open for both: it has no end then, and whoever calls does not wait.
  const calls = new Socket({ fd: openSync(CALLS, O_RDWR | O_NONBLOCK), readable: true, writable: false });
  createInterface({ input: calls }).on("line", (name) => answer(name, accept));
  writeFileSync(PID, `${process.pid}`, { mode: 0o600 });
}

function answer(name, accept) {
  if (!/^call-\d+$/.test(name)) return;
  let input, output;
  try {
    input = open(`${name}.in`, O_RDONLY, true);
    output = open(`${name}.out`, O_RDWR, false); // the reader may be yet to come
  } catch {
    input?.destroy(); // it has gone again
    return;
  }
  input.on("end", () => input.destroy());
  input.on("close", () => {
    output.destroy();
    for (const end of ["in", "out"]) rmSync(`${name}.${end}`, { force: true });
  });
  output.on("close", () => input.destroy());
  setTimeout(() => input.bytesRead || input.destroy(), SILENT).unref();
  accept(input, output);
}

function open(path, flags, readable) {
  return new Socket({ fd: openSync(path, flags | O_NONBLOCK), readable, writable: !readable });
}
