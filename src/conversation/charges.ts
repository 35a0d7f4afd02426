// Work is charged to the tenant that asked for it. Whoever does it keeps its place while it runs, asks for more where it
// turns out to be larger than it was taken for, and settles it when it is over. What nobody keeps, a process that died did
// not end: the tenant takes the place back by itself.
import { GriffinError } from "../errors.ts";
import { renewEveryMs, type Charge, type Cost } from "../tenant/protocol.ts";
import type { Env } from "./env.ts";

type Tenants = Pick<Env, "TENANTS">;

const tenantOf = ({ tenant }: Charge, { TENANTS }: Tenants) => TENANTS.get(TENANTS.idFromName(tenant));

/** Tells the tenant what work cost; null: nothing came of it. Never throws; false where the tenant was not reached. */
export async function settle(charge: Charge | null, cost: Cost | null, env: Tenants): Promise<boolean> {
  if (charge === null) return true;
  try {
    await tenantOf(charge, env).settle(charge.charge, cost);
    return true;
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.error(JSON.stringify({ event: "charge_not_settled", ...charge, error_name: name }));
    return false;
  }
}

/** The charge of work that runs in this process, from its beginning to its end. */
export class RunningCharge {
  readonly #charge: Charge | null;
  readonly #env: Tenants;
  #renewal: ReturnType<typeof setInterval> | undefined;
  #settled: Promise<boolean> | undefined;

  /** `isOld`: it was begun by a process that died. */
  constructor(charge: Charge | null, env: Tenants, isOld = false) {
    this.#charge = charge;
    this.#env = env;
    if (charge === null) return;
    const renew = async () => {
      // Where the tenant is not reached, the work goes on all the same.
      await tenantOf(charge, env)
        .renew(charge.charge)
        .catch(() => undefined);
    };
    if (isOld) void renew();
    this.#renewal = setInterval(() => void renew(), renewEveryMs);
  }

  /**
   * Sees to it that the work may run so many tokens. Throws `rate_limited` where too few of its minute are left, and
   * `invalid_argument` where no minute has so many.
   */
  async cover(tokens: number): Promise<void> {
    const charge = this.#charge;
    if (charge === null || tokens <= charge.tokens) return;
    const raised = await tenantOf(charge, this.#env).raise(charge.charge, tokens);
    if (raised.status === "raised") return;
    const what = `What comes before this reply has to be read again: with the reply that is up to ${tokens} tokens`;
    if (raised.status === "limited") throw new GriffinError("rate_limited", `${what}, more than are left this minute.`);
    const most = `more than the key may use in a minute, which is ${raised.mostTokens}`;
    throw new GriffinError("invalid_argument", `${what}, ${most}.`);
  }

  /** The work is over; only the first call counts. Never throws; false where the tenant was not reached. */
  settle(cost: Cost | null): Promise<boolean> {
    clearInterval(this.#renewal);
    this.#settled ??= settle(this.#charge, cost, this.#env);
    return this.#settled;
  }
}
