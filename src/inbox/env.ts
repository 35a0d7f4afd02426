// The bindings that hooks need besides those of conversations, and the names of their objects.
import type { Env } from "../conversation/env.ts";
import type { Namespace, Remote } from "../outbox/env.ts";
import type { Hook } from "./hook.ts";
import type { HookRegistry } from "./registry.ts";

export interface InboxEnv extends Env {
  HOOKS: Namespace<Remote<Hook>>;
  HOOK_REGISTRIES: Namespace<Remote<HookRegistry>>;
}

/** The object of a hook. */
export const hookName = (object: string): string => `hook/${object}`;

/** The object that knows what signs a hook's replies. */
export const replyRegistryName = (hook: string): string => `webhooks of ${hook}`;
