// Work is charged to the tenant that asked for it. It is settled when it is over, by whoever ended it; the tenant waits for
// nothing, and takes back by itself what nobody settles.
import type { Charge, Cost } from "../tenant/protocol.ts";
import type { Env } from "./env.ts";

/** Tells the tenant what work cost; null: nothing came of it. Never throws. */
export async function settle(
  charge: Charge | null,
  cost: Cost | null,
  { TENANTS }: Pick<Env, "TENANTS">,
): Promise<void> {
  if (charge === null) return;
  try {
    await TENANTS.get(TENANTS.idFromName(charge.tenant)).settle(charge.charge, cost);
  } catch (error) {
    const name = error instanceof Error ? error.name : "unknown";
    console.error(JSON.stringify({ event: "charge_not_settled", ...charge, error_name: name }));
  }
}
