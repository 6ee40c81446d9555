import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Link } from "../../src/ramure/harnesses/pi/bridge/link.ts";
import type { FromRun } from "../../src/ramure/harnesses/pi/bridge/protocol.ts";
import { pause, Run, until } from "./fakes.ts";

let run: Run;
let link: Link;
let received: FromRun[];
let ends: string[];
let notices: string[];

function dial(lease = 30, address = `unix:${run.path}`): Link {
	link = new Link(
		{ address, agent: "w1", token: "secret", lease },
		{
			message: (message) => {
				received.push(message);
				if (message.t === "interrupt") throw new Error("broken");
			},
			end: (reason) => ends.push(reason),
			notice: (text) => notices.push(text),
		},
	);
	link.open();
	return link;
}

describe("the link", () => {
	beforeEach(async () => {
		run = await new Run().listen();
		received = [];
		ends = [];
		notices = [];
	});
	afterEach(async () => {
		link.close();
		await run.close();
	});

	it("proves itself and sends what waited, in order", async () => {
		dial();
		for (const id of ["a", "b", "c"]) link.send({ t: "queued", id });
		await until(() => run.messages.length === 3);
		assert.deepEqual(
			run.messages.map((message) => [message.n, message.id]),
			[
				[1, "a"],
				[2, "b"],
				[3, "c"],
			],
		);
		const [hello] = run.hellos;
		assert.deepEqual(
			[hello?.v, hello?.agent, hello?.token, hello?.got],
			[1, "w1", "secret", 0],
		);
	});

	it("sends again what was not acknowledged, and takes nothing twice", async () => {
		run.acknowledges = false;
		dial();
		link.send({ t: "queued", id: "a" });
		run.send({ t: "message", id: "m1", text: "x" });
		await until(() => run.messages.length === 1 && received.length === 1);
		run.got = 0; // as if it had been lost on its way
		run.messages.length = 0;
		run.cut();
		run.send({ t: "message", id: "m2", text: "y" });
		await until(() => run.messages.length === 1 && received.length === 2);
		assert.equal(run.hellos.length, 2);
		assert.equal(run.hellos[0]?.session, run.hellos[1]?.session);
		assert.equal(run.hellos[1]?.got, 1);
		for (const socket of run.sockets) run.put(socket, { t: "message", n: 1, id: "m1", text: "x" });
		for (const socket of run.sockets) run.put(socket, { t: "ping" });
		await until(() => run.pongs.length === 1);
		assert.equal(received.length, 2);
	});

	it("acknowledges what it got", async () => {
		dial();
		for (let i = 0; i < 50; i += 1) run.send({ t: "message", id: `${i}`, text: "x".repeat(5000) });
		await until(() => run.acks.at(-1) === 50);
		assert.deepEqual(
			received.map((message) => message.n),
			Array.from({ length: 50 }, (_, i) => i + 1),
		);
	});

	it("begins again after a gap and after what is no JSON", async () => {
		dial();
		const [socket] = await until(() => run.hellos.length === 1 && [...run.sockets]);
		run.put(socket as never, { t: "message", n: 7, id: "m", text: "x" });
		await until(() => run.hellos.length === 2);
		const [next] = await until(() => run.sockets.size === 1 && [...run.sockets]);
		next?.write("not json\n");
		await until(() => run.hellos.length === 3);
		assert.deepEqual(received, []);
		assert.deepEqual(ends, []);
	});

	it("outlives a message that cannot be handled", async () => {
		dial();
		run.send({ t: "interrupt" });
		run.send({ t: "message", id: "m", text: "x" });
		await until(() => received.length === 2);
		assert.match(notices[0] ?? "", /interrupt.*broken/);
		assert.equal(run.hellos.length, 1);
	});

	it("keeps dialling until somebody is there", async () => {
		await run.gone();
		dial();
		link.send({ t: "queued", id: "a" });
		await pause(300);
		await run.listen();
		await until(() => run.messages.length === 1);
	});

	it("ends when it is refused for good", async () => {
		run.greet = () => ({ t: "refused", code: "ended", reason: "the run is over" });
		dial();
		await until(() => ends.length === 1);
		assert.match(ends[0] ?? "", /the run is over/);
	});

	it("comes back when it is refused for now", async () => {
		const greet = run.greet;
		run.greet = () => ({ t: "refused", code: "limit", reason: "later", retry: true });
		dial();
		await until(() => run.hellos.length === 3);
		run.greet = greet;
		link.send({ t: "queued", id: "a" });
		await until(() => run.messages.length === 1);
		assert.deepEqual(ends, []);
	});

	it("ends when its lease has run out, and not before", async () => {
		run.lease = 1;
		dial();
		await until(() => run.hellos.length === 1);
		await pause(50);
		const lost = performance.now();
		await run.gone();
		await until(() => ends.length === 1);
		assert.ok(performance.now() - lost >= 1000);
		assert.match(ends[0] ?? "", /out of reach/);
		await run.listen();
		await pause(200);
		assert.equal(run.hellos.length, 1);
	});

	it("does not take silence for death", async () => {
		run.lease = 0.2;
		run.greet = () => undefined;
		dial(0.2);
		await until(() => run.hellos.length === 1);
		await pause(600);
		for (let i = 0; i < 3; i += 1) {
			run.cut();
			await until(() => run.hellos.length === i + 2);
			await pause(150);
		}
		assert.deepEqual(ends, []);
	});

	it("counts its lease from when nobody accepted any more", async () => {
		run.greet = () => undefined;
		dial(3);
		await until(() => run.hellos.length === 1);
		for (let i = 0; i < 6; i += 1) {
			run.cut();
			await until(() => run.hellos.length === i + 2);
			await pause(300);
		}
		await run.gone();
		await pause(1000);
		assert.deepEqual(ends, []);
		await until(() => ends.length === 1);
	});

	it("leaves activity out rather than anything else, and says how much", async () => {
		run.greet = () => undefined;
		dial();
		const text = "x".repeat(16_000);
		for (let i = 0; i < 1000; i += 1) link.send({ t: "event", type: "text", data: { text } });
		link.send({ t: "call", call: "c1", tool: "t", arguments: {} });
		run.greet = () => ({ t: "welcome", v: 1, run: "r", got: run.got });
		run.cut();
		await until(() => run.of("call").length === 1);
		const told = run.of("event").length;
		assert.ok(told > 100 && told < 400, `${told}`);
		await link.flush(5000);
		link.send({ t: "event", type: "text", data: { text: "again" } });
		await until(() => run.of("event").at(-1)?.data.text === "again");
		assert.equal(run.of("event").at(-2)?.data.count, 1000 - told);
	});

	it("does not send what the run would not take", async () => {
		run.limit = 1000;
		dial();
		await until(() => run.hellos.length === 1);
		link.send({ t: "queued", id: "a" });
		await until(() => run.messages.length === 1);
		const call = { t: "call", call: "c", tool: "t", arguments: "x".repeat(1000) } as const;
		assert.equal(link.send(call), false);
		assert.equal(link.send({ t: "queued", id: "b" }), true);
		await until(() => run.messages.length === 2);
	});

	it("says at once what address it cannot dial", () => {
		dial(30, "carrier-pigeon:9");
		assert.match(ends[0] ?? "", /cannot dial/);
	});
});
