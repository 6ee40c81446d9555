/** The run's tools, as pi's: a call goes to the run and waits for its result. */

import type { FromRun, ToolDef } from "./protocol.ts";
import type { Session, Shared } from "./session.ts";

type Result = Extract<FromRun, { t: "result" }>;
type PiTool = Parameters<Session["pi"]["registerTool"]>[0];

export class Tools {
	readonly #shared: Shared;
	#defs = new Map<string, ToolDef>();
	/** Every name that was ever ours: what is no longer offered has to be switched off. */
	readonly #known = new Set<string>();
	readonly #waiting = new Map<string, (result: Result) => void>();
	#calls = 0;

	constructor(shared: Shared) {
		this.#shared = shared;
	}

	/** These are all the tools from now on. */
	replace(defs: ToolDef[]): void {
		this.#defs = new Map(defs.map((def) => [def.name, def]));
		if (this.#shared.session) this.offer(this.#shared.session.pi);
	}

	/** Register all tools with an instance of the extension that is still loading. */
	register(pi: Session["pi"]): void {
		for (const def of this.#defs.values()) {
			this.#known.add(def.name);
			pi.registerTool(this.#tool(def));
		}
	}

	/** Register all tools and see to it that exactly these of ours are active. */
	offer(pi: Session["pi"]): void {
		this.register(pi);
		const active = pi.getActiveTools();
		const others = active.filter((name) => !this.#known.has(name));
		const wanted = [...others, ...this.#defs.keys()];
		const same = wanted.length === active.length && wanted.every((name) => active.includes(name));
		if (!same) pi.setActiveTools(wanted);
	}

	/** The run's answer to a call; one that nobody waits for any more is dropped. */
	answer(result: Result): void {
		const resolve = this.#waiting.get(result.call);
		this.#waiting.delete(result.call);
		resolve?.(result);
	}

	#tool(def: ToolDef): PiTool {
		return {
			name: def.name,
			label: def.name,
			description: def.description,
			// pi takes plain JSON Schema and passes it to the model as it is.
			parameters: def.parameters as unknown as PiTool["parameters"],
			execute: async (_id, args, signal) => {
				const result = await this.#call(def.name, args, signal);
				if (!result.ok) throw new Error(result.text || `${def.name} failed`);
				return {
					content: [{ type: "text", text: result.text }],
					details: undefined,
					...(result.end ? { terminate: true } : {}),
				};
			},
		};
	}

	#call(tool: string, args: unknown, signal: AbortSignal | undefined): Promise<Result> {
		if (!this.#defs.has(tool)) throw new Error(`there is no tool ${tool} any more`);
		signal?.throwIfAborted();
		this.#calls += 1;
		const call = `c${this.#calls}`;
		return new Promise((resolve, reject) => {
			const abort = () => {
				this.#waiting.delete(call);
				this.#shared.send({ t: "cancel", call });
				reject(new Error(`${tool} was aborted`));
			};
			this.#waiting.set(call, (result) => {
				signal?.removeEventListener("abort", abort);
				resolve(result);
			});
			if (this.#shared.send({ t: "call", call, tool, arguments: args })) {
				signal?.addEventListener("abort", abort, { once: true });
			} else {
				this.#waiting.delete(call);
				reject(new Error(`the arguments of ${tool} are too large to be sent`));
			}
		});
	}
}
