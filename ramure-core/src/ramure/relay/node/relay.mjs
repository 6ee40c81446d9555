// The relay: a small program that ramure runs on a machine. docs/relay.md says what it does.
//
//   relay.mjs start FOLDER LEASE HEARTBEAT   start the daemon, and end
//   relay.mjs daemon LEASE HEARTBEAT         be the daemon, in the current folder
//   relay.mjs attach FOLDER [first]          carry bytes between standard input and output and it
//
// Needs Node.js 18 or newer and nothing else.

import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { attach } from "./attach.mjs";
import { serve } from "./daemon.mjs";

const [mode, ...rest] = process.argv.slice(2);

if (mode === "start") {
  const [folder, ...options] = rest;
  process.chdir(folder);
  const log = openSync("log", "a", 0o600);
  spawn(process.execPath, [fileURLToPath(import.meta.url), "daemon", ...options], {
    stdio: ["ignore", log, log],
    detached: true,
  }).unref();
} else if (mode === "daemon") {
  serve(+rest[0], rest[1] === "beat");
} else if (mode === "attach") {
  process.chdir(rest[0]);
  await attach(rest[1] === "first");
} else {
  console.error(`relay.mjs: ${mode} is none of start, daemon, attach`);
  process.exit(64);
}
