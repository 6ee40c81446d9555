// The relay: a small program that ramure runs on a machine. docs/relay.md says what it does.
//
//   relay.mjs start FOLDER LEASE HEARTBEAT   start the daemon, and end
//   relay.mjs daemon LEASE HEARTBEAT         be the daemon, in the current folder
//
// Needs Node.js 18 or newer and nothing else.

import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { fileURLToPath } from "node:url";
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
} else {
  console.error(`relay.mjs: ${mode} is neither start nor daemon`);
  process.exit(64);
}
