// Says where pi is on a machine: pi's path, its package's name, and tmux's path are the arguments.
const { existsSync, readFileSync, realpathSync } = require("node:fs");
const { dirname, join } = require("node:path");

const [, pi, name, tmux] = process.argv;

function packageOf(folder) {
	try {
		return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
	} catch {
		return {};
	}
}

let folder = existsSync(pi) ? realpathSync(pi) : "/";
while (packageOf(folder).name !== name) {
	if (folder === dirname(folder)) throw new Error(`${pi} is no ${name}`);
	folder = dirname(folder);
}
const { version, bin, engines } = packageOf(folder);
const cli = join(folder, bin.pi);
const needs = engines?.node ?? "";
const named = Boolean(process.env.RAMURE_PI);
console.log(
	JSON.stringify({ node: process.execPath, has: process.version, needs, cli, version, tmux, named }),
);
