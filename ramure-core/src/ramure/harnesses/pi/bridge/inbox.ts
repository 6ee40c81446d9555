/**
 * Messages from the run on their way to the model.
 *
 * pi drops a message that reaches it at the wrong moment and never says so. So messages wait here,
 * at most one is in pi's hands at a time, and it counts as taken only once it shows up in the
 * session. It is handed over
 *   - at once, where pi is idle;
 *   - between two model calls, while a turn's tools run (as `steer`);
 *   - when pi has settled.
 * A message that was in pi's hands when pi settled, or when the session was replaced, or that does
 * not show up, is handed over again.
 */

import type { Session, Shared } from "./session.ts";

interface Letter {
	id: string;
	text: string;
}

interface Handed extends Letter {
	at: number;
	/** pi's `input` event showed it: what comes next is it, whatever other extensions made of it. */
	seen: boolean;
	typed: string | undefined;
}

/** Milliseconds between two looks while something waits. */
const LOOK_EVERY = 500;
/** Milliseconds that pi may take to begin with a message while it is idle. */
const LOST_AFTER = 10_000;
const LOST_AFTER_AT_MOST = 60_000;
/** Milliseconds that the steering of a message may take. */
const STEER_WITHIN = 1_000;

export class Inbox {
	readonly #shared: Shared;
	readonly #ready: () => boolean;
	#waiting: Letter[] = [];
	#handed: Handed | undefined;
	#tries = 0;
	#timer: NodeJS.Timeout | undefined;

	/** @param ready whether pi is idle and would take a message. */
	constructor(shared: Shared, ready: () => boolean) {
		this.#shared = shared;
		this.#ready = ready;
	}

	get empty(): boolean {
		return this.#waiting.length === 0 && this.#handed === undefined;
	}

	accept(letter: Letter): void {
		this.#waiting.push(letter);
		this.#shared.send({ t: "queued", id: letter.id });
		this.pump();
	}

	/** Hand the next message over if pi is idle; look again later while something waits. */
	pump(): void {
		this.#giveBackIfLost();
		const session = this.#shared.session;
		if (session && !this.#handed && this.#waiting.length > 0 && this.#ready()) this.#hand(session);
		clearTimeout(this.#timer);
		if (this.empty) return;
		this.#timer = setTimeout(() => this.pump(), LOOK_EVERY);
		this.#timer.unref();
	}

	/** A tool has ended, so another model call comes: let the next message be part of it. */
	async between(): Promise<void> {
		const session = this.#shared.session;
		if (!session || this.#handed || this.#waiting.length === 0) return;
		// An aborted turn takes up what is queued and does nothing with it.
		if (session.ctx.signal?.aborted) return;
		const handed = this.#hand(session, "steer");
		const deadline = performance.now() + STEER_WITHIN;
		while (this.#handed === handed && performance.now() < deadline) {
			if (this.#shared.session !== session || session.ctx.hasPendingMessages()) return;
			await new Promise((resolve) => setTimeout(resolve, 2));
		}
	}

	/** pi was given a text to process. */
	input(text: string, ours: boolean): void {
		if (!this.#handed) return;
		if (!ours) this.#handed.typed = text;
		else if (text === this.#handed.text) this.#handed.seen = true;
	}

	/** A user's message begins in the session. */
	shows(text: string): void {
		const handed = this.#handed;
		if (!handed) return;
		if (text !== handed.text && (!handed.seen || text === handed.typed)) return;
		this.#handed = undefined;
		this.#tries = 0;
		this.#shared.send({ t: "taken", id: handed.id });
	}

	/** pi will not come back to what it was given: take it back. */
	giveBack(): void {
		if (!this.#handed) return;
		const { id, text } = this.#handed;
		this.#handed = undefined;
		this.#waiting.unshift({ id, text });
		this.#clearEditor(text);
	}

	#giveBackIfLost(): void {
		if (!this.#handed || !this.#ready()) return;
		const limit = Math.min(LOST_AFTER * 2 ** this.#tries, LOST_AFTER_AT_MOST);
		if (performance.now() - this.#handed.at < limit) return;
		this.#tries += 1;
		this.giveBack();
	}

	#hand({ pi }: Session, as?: "steer"): Handed | undefined {
		const letter = this.#waiting.shift();
		if (!letter) return undefined;
		const handed = { ...letter, at: performance.now(), seen: false, typed: undefined };
		this.#handed = handed;
		pi.sendUserMessage(letter.text, as ? { deliverAs: as } : undefined);
		return handed;
	}

	/** After an Escape pi puts what was queued into the editor, where it would be sent twice. */
	#clearEditor(text: string): void {
		const ui = this.#shared.session?.ctx.ui;
		try {
			if (text && ui?.getEditorText() === text) ui.setEditorText("");
		} catch {
			// No editor in this mode.
		}
	}
}
