// The daemon: one for each relay, as long as its lease.

import { rmSync } from "node:fs";
import { createServer } from "node:net";
import * as calls from "./calls.mjs";
import * as doors from "./doors.mjs";
import { Link } from "./link.mjs";
import { Mux } from "./mux.mjs";
import * as processes from "./processes.mjs";
import { killTree } from "./tree.mjs";

export const SOCKET = "relay.sock"; // in the folder it works in: any path is short enough then

/**
 * @param lease seconds without the program after which all ends
 * @param heartbeat true where a connection counts only while something comes over it
 */
export function serve(lease, heartbeat) {
  const folder = process.cwd();
  const timer = setTimeout(() => held || end(), lease * 1000);
  let held = false; // by a connection whose being there is enough
  let ending = false;

  function hold(yes) {
    held = yes;
    timer.refresh();
  }

  async function end() {
    if (ending) return;
    ending = true;
    setTimeout(() => process.exit(1), 15_000).unref(); // whatever happens
    await killTree(processes.MARK);
    doors.tidyAll();
    process.chdir("/");
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 }); // pipes may still be made in it
    process.exit(0);
  }

  const link = new Link({
    receive: (frame) => mux.receive(frame),
    room: () => mux.room(),
    attached: () => hold(!heartbeat),
    heard: () => timer.refresh(),
    detached: () => hold(false),
    bye: end,
  });
  const mux = new Mux(link, (channel, what) => {
    if (ending) return;
    if (what.kind === "process") processes.open(channel, what);
    else if (what.kind === "door") doors.open(channel, mux);
    else channel.message({ failed: "EINVAL", reason: `the relay knows no ${what.kind}` });
  });

  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, end);
  process.on("SIGHUP", () => {});
  process.on("SIGPIPE", () => {});
  process.on("uncaughtException", (error) => {
    console.error(error);
    end();
  });
  const server = createServer((socket) => link.accept(socket));
  server.on("error", () => process.exit(1)); // another one listens already
  server.listen(SOCKET, () => calls.listen((input, output) => link.accept(input, output)));
}
