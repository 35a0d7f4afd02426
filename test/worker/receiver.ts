// A receiver of webhooks in the test's own worker, which WebhookEndpoint objects reach over a service binding. What it
// answers stands in the path: /a/200, /b/500?retry-after=60, /c/302, /d/hold: waits until the test lets go.
export interface Received {
  path: string;
  headers: Record<string, string>;
  body: string;
}

/** All that came, in order. */
export const received: Received[] = [];

/** Paths whose receiver has become another: what it answers now. */
export const changed = new Map<string, number>();
const held = new Set<Request>();

/** Lets all that is held be answered with 200. */
export function letGo(): number {
  const count = held.size;
  held.clear();
  return count;
}

export const heldCount = (): number => held.size;

/** What came for an address that begins so. */
export const receivedAt = (path: string): Received[] => received.filter((each) => each.path.startsWith(path));

export async function receive(request: Request): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  received.push({ path: pathname, headers: Object.fromEntries(request.headers), body: await request.text() });
  const what = pathname.split("/").at(-1) ?? "";
  if (what === "hold") held.add(request);
  // A promise that another request keeps would be another context's.
  while (held.has(request)) await new Promise((resolve) => void setTimeout(resolve, 5));
  const status = changed.get(pathname) ?? (what === "hold" ? 200 : Number(what));
  const headers = Object.fromEntries(searchParams);
  return new Response(status === 204 ? null : "x".repeat(100_000), { status, headers });
}
