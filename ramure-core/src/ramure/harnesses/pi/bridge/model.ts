/** Whether pi has a model that it can use: without one it takes messages and does nothing. */

import type { ExtensionContext } from "@earendil-works/pi-coding-agent";

/** The variables in which pi looks for the keys of much used providers, as its documentation lists them. */
const KEYS: Record<string, string> = {
	anthropic: "ANTHROPIC_API_KEY",
	cerebras: "CEREBRAS_API_KEY",
	deepseek: "DEEPSEEK_API_KEY",
	"github-copilot": "COPILOT_GITHUB_TOKEN",
	google: "GEMINI_API_KEY",
	groq: "GROQ_API_KEY",
	mistral: "MISTRAL_API_KEY",
	openai: "OPENAI_API_KEY",
	openrouter: "OPENROUTER_API_KEY",
	xai: "XAI_API_KEY",
};

const NAME_ANOTHER = "`pi --list-models` lists those it has; name one by model=\"provider/model\"";

/** What pi 0.74 does not have: keys that are found only by asking. */
interface Newer {
	getProviderAuth(provider: string): Promise<unknown>;
}

export function modelName(ctx: ExtensionContext): string {
	return ctx.model ? `${ctx.model.provider}/${ctx.model.id}` : "";
}

/**
 * Why the model cannot be used, in words; "" where it can.
 *
 * @param wanted what `--model` said, where it was given.
 */
export async function modelProblem(ctx: ExtensionContext, wanted: string): Promise<string> {
	const { model, modelRegistry: registry } = ctx;
	const broken = registry.getError();
	const because = broken ? ` (models.json: ${broken})` : "";
	if (!model || model.provider === "unknown") {
		return wanted
			? `pi has no model ${wanted}${because}: ${NAME_ANOTHER}`
			: `pi has no model to use${because}: ${logIn("ANTHROPIC_API_KEY, for example")}`;
	}
	if (wanted && !fits(wanted, modelName(ctx), model.name)) {
		return `pi has no model ${wanted} and would use ${modelName(ctx)} instead${because}: ${NAME_ANOTHER}`;
	}
	if (registry.hasConfiguredAuth(model)) return "";
	const known = await (registry as Partial<Newer>).getProviderAuth?.(model.provider);
	if (known) return "";
	const cure = logIn(KEYS[model.provider] ?? "its API key");
	return `pi has no key for ${modelName(ctx)}${because}: ${cure}, or name another model by model=`;
}

function logIn(key: string): string {
	return `set the provider's key in the environment (${key}), or run \`pi\` there and type /login`;
}

/** pi matches parts of ids and names; a suffix after the last colon may be a thinking level. */
function fits(wanted: string, id: string, name: string): boolean {
	const level = /:(off|minimal|low|medium|high|xhigh|max)$/;
	const plain = wanted.toLowerCase().replace(level, "");
	const short = plain.slice(plain.indexOf("/") + 1);
	return [plain, short].some(
		(part) => id.toLowerCase().includes(part) || name.toLowerCase().includes(part),
	);
}
