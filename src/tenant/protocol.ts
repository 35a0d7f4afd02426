// What crosses between the HTTP layer, conversations and the objects of tenants: plain data only.

/** GET asks for `read`, everything else for `write`. */
export const scopes = ["read", "write"] as const;
export type Scope = (typeof scopes)[number];

/** Of a tenant all of its keys share them; a key may have narrower ones. null: no limit. */
export interface Limits {
  /** Of requests that run tokens, and as many again of those that run none. */
  requests_per_minute: number | null;
  /** Tokens that run through the model: prompt tokens that were not restored, and those of replies. */
  tokens_per_minute: number | null;
  /** Replies in the making at once. */
  concurrency: number | null;
}

export const noLimits: Limits = { requests_per_minute: null, tokens_per_minute: null, concurrency: null };

export interface TenantView {
  id: string;
  name: string;
  createdMs: number;
  limits: Limits;
}

export interface KeyView {
  /** Of its tenant: 1, 2, 3, … */
  key: number;
  name: string;
  scopes: Scope[];
  limits: Limits;
  createdMs: number;
  /** null: never. */
  expiresMs: number | null;
  revokedMs: number | null;
  /** To the minute. */
  lastUsedMs: number | null;
  /** Until then the secret before the last rotation is good as well. */
  previousUntilMs: number | null;
}

export interface NewKey {
  name: string;
  scopes: Scope[];
  limits: Limits;
  expiresMs: number | null;
}

/** Who asks: the hash of a key's secret, or the number of a key, for work that a request with that key has left. */
export type Asker = { hash: string } | { key: number };

export type Ask = Asker & {
  scope: Scope;
  /** The most tokens that it may run through the model; null where it runs none. */
  mostTokens: number | null;
};

/** How much of a limit there is, and was; as the headers tell it. */
export interface Rate {
  limit: number;
  remaining: number;
  /** Until all of it is there again. */
  resetMs: number;
}

export interface Rates {
  requests: Rate | null;
  tokens: Rate | null;
}

/** What a tenant answers to a request of one of its keys. */
export type Admission =
  /** `charge` is what has to be settled when the work is over; null where there is none. */
  | { status: "admitted"; key: number; charge: number | null; rates: Rates }
  | { status: "limited"; what: "requests" | "tokens" | "concurrency"; retryAfterMs: number; rates: Rates }
  /** A limit is lower than what this request alone may take. */
  | { status: "too_large"; mostTokens: number; rates: Rates }
  | { status: "unknown" }
  | { status: "expired" }
  | { status: "out_of_scope" };

/** What a piece of work cost. */
export interface Cost {
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
}

/** Where a piece of work is charged. */
export interface Charge {
  tenant: string;
  charge: number;
  /** So many tokens it may run: they are taken. */
  tokens: number;
}

/** The place of work that runs is kept by saying so this often; */
export const renewEveryMs = 20_000;
/** after so long a silence it is given to others. */
export const leaseMs = 3 * renewEveryMs;

/** What a tenant answers to work that would run more tokens than were taken for it. */
export type Raise = { status: "raised" } | { status: "limited" } | { status: "too_large"; mostTokens: number };

export interface UsageRow {
  /** UTC, such as 2026-11-26. */
  day: string;
  key: number;
  requests: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
}
