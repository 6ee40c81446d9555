/**
 * The pi extension that connects an agent to its run.
 *
 * `RAMURE_BRIDGE` names a file with the settings. It holds the agent's token, so it is removed as
 * soon as it has been read, and what pi starts does not learn of it. Without it, pi was not started
 * by ramure and the extension does nothing.
 */

import { readFileSync, rmSync } from "node:fs";
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";
import { Bridge, type Settings } from "./bridge.ts";

/** Where the bridge outlives `/reload`, which evaluates these modules anew. */
const KEPT = Symbol.for("ramure.bridge");
/** What the names of variables begin with that the launcher's shell has for itself. */
const RENAMED = "RAMURE_AS_";
const kept = globalThis as { [KEPT]?: Bridge | undefined };

export default function ramure(pi: ExtensionAPI): void {
	kept[KEPT] ??= make();
	kept[KEPT]?.bind(pi);
}

function make(): Bridge | undefined {
	restoreTemporaryFolder();
	restoreNames();
	const path = process.env.RAMURE_BRIDGE;
	delete process.env.RAMURE_BRIDGE;
	if (!path) return undefined;
	const settings = JSON.parse(readFileSync(path, "utf8")) as Settings;
	rmSync(path);
	return new Bridge(settings);
}

/** What pi starts gets the temporary folder that it would have without ramure. */
function restoreTemporaryFolder(): void {
	const folder = process.env.RAMURE_TMPDIR;
	if (folder === undefined) return;
	delete process.env.RAMURE_TMPDIR;
	if (folder) process.env.TMPDIR = folder;
	else delete process.env.TMPDIR;
	// `/reload` compiles once more, and would keep that where what pi starts has its files.
	process.env.JITI_FS_CACHE ??= "false";
}

/** What pi starts gets the variables that the launcher's shell has for itself and could not give. */
function restoreNames(): void {
	for (const [name, value] of Object.entries(process.env)) {
		if (!name.startsWith(RENAMED)) continue;
		delete process.env[name];
		process.env[name.slice(RENAMED.length)] = value;
	}
}
