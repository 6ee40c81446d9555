import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import extension from "../../src/ramure/harnesses/pi/bridge/index.ts";
import { type Message, Pi, pause, Run, until } from "./fakes.ts";

const KEPT = Symbol.for("ramure.bridge");
/** Less than what a message may take that pi was given, in milliseconds. */
const SOON = 8_000;
let run: Run;
let pi: Pi;

/** Load the extension as pi does. */
async function load(settings: Message = {}, reason = "startup"): Promise<void> {
	const path = join(run.folder, "bridge.json");
	if (reason === "startup") {
		const all = { address: `unix:${run.path}`, agent: "w1", token: "secret", lease: 30 };
		writeFileSync(path, JSON.stringify({ ...all, version: "0.87.1", model: "", ...settings }));
		process.env.RAMURE_BRIDGE = path;
	}
	extension(pi.api);
	assert.equal(process.env.RAMURE_BRIDGE, undefined);
	assert.ok(!existsSync(path));
	await pi.emit("session_start", { reason });
}

/** pi replaces its session, and with it this instance of the extension. */
async function replace(reason: string): Promise<void> {
	await pi.emit("session_shutdown", { reason });
	pi = new Pi();
	await load({}, reason);
}

const TOOL = { name: "ask", description: "Asks.", parameters: { type: "object" } };

async function offered(): Promise<void> {
	run.send({ t: "tools", tools: [TOOL] });
	await until(() => pi.tools.has("ask"), "the tool");
}

function call(args: Message = {}, signal?: AbortSignal): Promise<any> {
	return Promise.resolve().then(() => pi.tools.get("ask").execute("id", args, signal));
}

describe("the bridge", () => {
	beforeEach(async () => {
		run = await new Run().listen();
		pi = new Pi();
	});
	afterEach(async () => {
		await pi.emit("session_shutdown", { reason: "quit" });
		delete (globalThis as any)[KEPT];
		await run.close();
	});

	it("does nothing where pi was not started by ramure", async () => {
		extension(pi.api);
		assert.equal(pi.handlers.size, 0);
	});

	it("introduces itself", async () => {
		await load();
		const ready = await until(() => run.of("ready")[0]);
		assert.deepEqual(
			[ready.harness, ready.version, ready.pid, ready.model, ready.problem],
			["pi", "0.87.1", process.pid, "p/m", ""],
		);
		assert.equal(ready.remembers, false);
	});

	it("says that it goes on with a conversation", async () => {
		pi.entries = [{ type: "model_change" }, { type: "message" }];
		await load();
		assert.equal((await until(() => run.of("ready")[0])).remembers, true);
	});

	for (const [name, set, settings, says] of [
		[
			"no model",
			() => (pi.model = undefined),
			{},
			/no model to use: set .*ANTHROPIC_API_KEY.*`pi`.*\/login/,
		],
		["no key", () => (pi.auth = false), {}, /no key for p\/m: set .*\/login, or .* model=/],
		[
			"no key of a known provider",
			() => ((pi.auth = false), (pi.model = { provider: "google", id: "g", name: "G" })),
			{},
			/GEMINI_API_KEY/,
		],
		[
			"a broken models.json",
			() => ((pi.model = undefined), (pi.error = "line 3")),
			{},
			/line 3/,
		],
		["another model", () => {}, { model: "q/other:high" }, /q\/other:high.*p\/m/],
	] as const) {
		it(`says that there is ${name}, and holds messages`, async () => {
			set();
			await load(settings);
			assert.match((await until(() => run.of("ready")[0])).problem, says);
			run.send({ t: "message", id: "m1", text: "x" });
			const failure = await until(() => run.of("failure")[0]);
			assert.equal(failure.final, true);
			assert.deepEqual(pi.sent, []);
			// A person chooses a model at the terminal.
			pi.model = { provider: "p", id: "m", name: "M" };
			pi.auth = true;
			await pi.emit("model_select");
			assert.deepEqual(pi.sent, [{ text: "x", deliverAs: undefined }]);
		});
	}

	it("accepts the wanted model by a part of its name", async () => {
		await load({ model: "M:low" });
		assert.equal((await until(() => run.of("ready")[0])).problem, "");
	});

	it("hands one message at a time to an idle pi and tells when it was taken", async () => {
		await load();
		run.send({ t: "message", id: "m1", text: "one" });
		run.send({ t: "message", id: "m2", text: "two" });
		await until(() => run.of("queued").length === 2);
		assert.deepEqual(pi.sent, [{ text: "one", deliverAs: undefined }]);
		assert.deepEqual(run.of("taken"), []);
		await pi.begin("one");
		await until(() => run.of("taken").length === 1);
		await pi.end();
		await until(() => pi.sent.length === 2);
		await pi.begin("two");
		await pi.end();
		await until(() => run.of("state").at(-1)?.state === "idle");
		assert.deepEqual(
			run.of("state").map((message) => message.state),
			["busy", "idle"],
		);
		assert.deepEqual(
			run.of("taken").map((message) => message.id),
			["m1", "m2"],
		);
	});

	it("hands messages to a busy pi between two model calls", async () => {
		await load();
		await pi.begin("typed");
		run.send({ t: "message", id: "m1", text: "one" });
		await until(() => run.of("queued").length === 1);
		assert.deepEqual(pi.sent, []);
		await pi.emit("tool_result");
		await pi.emit("tool_result");
		assert.deepEqual(pi.sent, [{ text: "one", deliverAs: "steer" }]);
		await pi.shows("one");
		await until(() => run.of("taken").length === 1);
	});

	it("hands nothing to an aborted turn, and takes back what pi dropped", async () => {
		await load();
		await pi.begin("typed");
		run.send({ t: "message", id: "m1", text: "one" });
		await until(() => run.of("queued").length === 1);
		pi.signal = AbortSignal.abort();
		await pi.emit("tool_result");
		assert.equal(pi.sent.length, 0);
		pi.signal = undefined;
		await pi.emit("tool_result");
		assert.equal(pi.sent.length, 1);
		pi.editor = "one"; // where an Escape puts what was queued
		await pi.end();
		await until(() => pi.sent.length === 2, "the message, before it counts as lost", SOON);
		assert.deepEqual(pi.sent[1], { text: "one", deliverAs: undefined });
		assert.equal(pi.editor, "");
		assert.deepEqual(run.of("taken"), []);
	});

	it("does not mistake what a person types for its own message", async () => {
		await load();
		run.send({ t: "message", id: "m1", text: "one" });
		await until(() => pi.sent.length === 1);
		await pi.emit("input", { text: "typed", source: "interactive" });
		await pi.begin("typed");
		await pi.end();
		await until(() => pi.sent.length === 2);
		await pi.emit("input", { text: "one", source: "extension" });
		await pi.begin("one, as another extension would have it");
		await until(() => run.of("taken").length === 1);
	});

	it("hands nothing over while pi compacts", async () => {
		await load();
		pi.idle = false;
		await pi.emit("session_before_compact");
		run.send({ t: "message", id: "m1", text: "one" });
		await until(() => run.of("queued").length === 1);
		await pause(700);
		assert.deepEqual(pi.sent, []);
		pi.idle = true;
		await pi.emit("session_compact");
		await until(() => pi.sent.length === 1);
	});

	for (const reason of ["reload", "new"]) {
		it(`lives on after /${reason}`, async () => {
			await load();
			await offered();
			run.send({ t: "message", id: "m1", text: "one" });
			await until(() => pi.sent.length === 1);
			const old = pi;
			await replace(reason);
			assert.ok(pi.tools.has("ask"));
			run.send({ t: "message", id: "m2", text: "two" });
			await until(() => pi.sent.length === 1, "the message, before it counts as lost", SOON);
			assert.equal(pi.sent[0]?.text, "one");
			await pi.begin("one");
			await pi.end();
			await until(() => pi.sent.length === 2);
			assert.equal(old.sent.length, 1);
			assert.equal(run.hellos.length, 1);
			assert.equal(run.of("ready").length, 1);
			assert.deepEqual(run.of("bye"), []);
			assert.equal(old.aborted, reason === "new" ? 1 : 0);
		});
	}

	it("passes calls on and their results back", async () => {
		await load();
		await offered();
		const results = [call({ n: 1 }), call({ n: 2 })];
		await until(() => run.of("call").length === 2);
		const [one, two] = run.of("call");
		assert.deepEqual([one?.tool, one?.arguments], ["ask", { n: 1 }]);
		run.send({ t: "result", call: two?.call, ok: true, text: "second", end: true });
		run.send({ t: "result", call: one?.call, ok: true, text: "first" });
		run.send({ t: "result", call: one?.call, ok: true, text: "twice" });
		const [first, second] = await Promise.all(results);
		assert.deepEqual([first.content[0].text, first.terminate], ["first", undefined]);
		assert.deepEqual([second.content[0].text, second.terminate], ["second", true]);
	});

	it("makes a failed call an error for the model", async () => {
		await load();
		await offered();
		const failed = assert.rejects(call(), /it did not work/);
		const { call: name } = await until(() => run.of("call")[0]);
		run.send({ t: "result", call: name, ok: false, text: "it did not work" });
		await failed;
	});

	it("cancels an aborted call, and begins none that is aborted already", async () => {
		await load();
		await offered();
		const abort = new AbortController();
		const aborted = assert.rejects(call({}, abort.signal), /aborted/);
		const { call: name } = await until(() => run.of("call")[0]);
		abort.abort();
		await aborted;
		assert.equal((await until(() => run.of("cancel")[0])).call, name);
		await assert.rejects(call({}, abort.signal));
		run.send({ t: "result", call: name, ok: true, text: "too late" });
		await pause(50);
		assert.equal(run.of("call").length, 1);
	});

	it("lets a call wait for a connection", async () => {
		await load();
		await offered();
		await run.gone();
		const result = call();
		await pause(50);
		await run.listen();
		const { call: name } = await until(() => run.of("call")[0]);
		run.cut();
		run.send({ t: "result", call: name, ok: true, text: "at last" });
		assert.equal((await result).content[0].text, "at last");
		assert.equal(run.of("call").length, 1);
	});

	it("says when the arguments are too large", async () => {
		run.limit = 2000;
		await load();
		await offered();
		await assert.rejects(call({ text: "x".repeat(3000) }), /too large/);
	});

	it("switches tools on and off", async () => {
		await load();
		await offered();
		assert.deepEqual(pi.active, ["bash", "ask"]);
		run.send({ t: "tools", tools: [{ ...TOOL, name: "other" }] });
		await until(() => pi.tools.has("other"));
		assert.deepEqual(pi.active, ["bash", "other"]);
		await assert.rejects(call(), /no tool ask/);
		run.send({ t: "tools", tools: [TOOL] });
		await until(() => pi.active.includes("ask"));
		assert.deepEqual(pi.active, ["bash", "ask"]);
	});

	it("tells what pi does, within bounds", async () => {
		await load();
		await pi.begin("x".repeat(100_000));
		await pi.emit("turn_start", { turnIndex: 0 });
		const circle: Message = {};
		circle.circle = circle;
		await pi.emit("tool_execution_start", { toolCallId: "t1", toolName: "bash", args: circle });
		const result = { content: [{ type: "text", text: "y".repeat(100_000) }] };
		const end = { toolCallId: "t1", toolName: "bash", isError: true, result };
		await pi.emit("tool_execution_end", end);
		const usage = { input: 1, output: 2, cacheRead: 3, cacheWrite: 4, cost: { total: 0.5 } };
		const content = [{ type: "thinking", thinking: "hm" }, { type: "text", text: "hello" }];
		await pi.says({ content, usage, stopReason: "stop" });
		await pi.emit("turn_end", { turnIndex: 0 });
		await until(() => run.of("event").length === 6);
		const types = run.of("event").map((event) => event.type);
		const expected = ["user", "turn_start", "tool_start", "tool_end", "text", "turn_end"];
		assert.deepEqual(types, expected);
		const [user, , , ended, text] = run.of("event").map((event) => event.data);
		assert.ok(user.text.length < 20_000 && ended.result.length < 20_000);
		assert.match(user.text, /67232|left out/);
		assert.deepEqual([ended.name, ended.is_error, text], ["bash", true, { text: "hello" }]);
		const { t: _t, n: _n, ...used } = run.of("usage")[0] as Message;
		assert.deepEqual(used, {
			model: "p/m",
			input: 1,
			output: 2,
			cache_read: 3,
			cache_write: 4,
			cost: 0.5,
		});
	});

	it("tells a failure that pi tries to get over from one that is final", async () => {
		await load();
		await pi.begin("x");
		await pi.says({ stopReason: "error", errorMessage: "500 oh" });
		await pi.end(false);
		await pi.emit("agent_start");
		await until(() => run.of("failure").length === 1);
		await pi.says({ stopReason: "error", errorMessage: "500 again" });
		await pi.end(false);
		await until(() => run.of("failure").length === 2, "the failure, while pi waits");
		await pi.says({ stopReason: "stop" });
		await pi.end();
		await until(() => run.of("state").at(-1)?.state === "idle");
		await pi.begin("y");
		await pi.says({ stopReason: "error", errorMessage: "401 no" });
		await pi.end();
		await until(() => run.of("failure").length === 3);
		const told = run.of("failure").map(({ message, final }) => [message, final]);
		assert.deepEqual(told, [
			["500 oh", false],
			["500 again", false],
			["401 no", true],
		]);
	});

	it("knows by itself when pi 0.74 tries again", async () => {
		await load({ version: "0.74.2" });
		await pi.begin("x");
		for (let attempt = 0; attempt < 3; attempt += 1) {
			await pi.says({ stopReason: "error", errorMessage: "503 busy" });
			await pi.end(false);
			await pi.emit("agent_start");
		}
		await pi.says({ stopReason: "error", errorMessage: "503 busy" });
		await pi.end(false);
		await until(() => run.of("state").at(-1)?.state === "idle");
		const told = run.of("failure").map(({ final }) => final);
		assert.deepEqual(told, [false, false, false, true]);
		await pi.begin("y");
		await pi.says({ stopReason: "error", errorMessage: "401 no" });
		await pi.end(false);
		await until(() => run.of("failure").length === 5);
		assert.equal(run.of("failure")[4]?.final, true);
	});

	it("does not take an abort for a failure", async () => {
		await load();
		for (const fields of [
			{ stopReason: "aborted", errorMessage: "whatever" },
			{ stopReason: "error", errorMessage: "This operation was aborted" },
			{ stopReason: "error", errorMessage: "Request was aborted." },
		]) {
			await pi.begin("x");
			await pi.says(fields);
			await pi.end();
		}
		await until(() => run.of("state").at(-1)?.state === "idle");
		assert.deepEqual(run.of("failure"), []);
	});

	it("aborts a turn when it is told to", async () => {
		await load();
		run.send({ t: "interrupt" });
		await until(() => pi.aborted === 1);
	});

	it("says goodbye when a person quits pi", async () => {
		await load();
		await until(() => run.hellos.length === 1);
		await pi.emit("session_shutdown", { reason: "quit" });
		assert.equal(run.of("bye")[0]?.reason, "pi was quit");
	});

	it("ends pi when it is told to, and says why", async (test) => {
		const kill = test.mock.method(process, "kill", () => true);
		const exit = test.mock.method(process, "exit", () => undefined as never);
		await load();
		run.send({ t: "stop", reason: "it is enough" });
		await until(() => pi.shutdowns === 1);
		assert.match(pi.notices[0] ?? "", /it is enough/);
		await pi.emit("session_shutdown", { reason: "quit" });
		assert.equal(run.of("bye")[0]?.reason, "it is enough");
		// A pi that stays is ended less politely.
		await until(() => kill.mock.callCount() === 1 && exit.mock.callCount() === 1);
		assert.deepEqual(kill.mock.calls[0]?.arguments, [process.pid, "SIGTERM"]);
	});
});
