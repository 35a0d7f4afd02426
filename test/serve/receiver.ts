// A receiver of webhooks: a real HTTP server on this machine, which keeps what came and answers as a test wants.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

export interface Received {
  path: string;
  headers: Record<string, string>;
  body: string;
  atMs: number;
}

export interface Receiver {
  url: string;
  received: Received[];
  /** What came for a path. */
  at(path: string): Received[];
  stop(): void;
}

/** Answers 204 unless told. */
export async function startReceiver(
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_, response) =>
    void response.writeHead(204).end(),
): Promise<Receiver> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const atMs = Date.now();
    const body = await text(request).catch(() => "");
    // Its sender died in the middle of it.
    if (!request.complete) return;
    received.push({ path: request.url ?? "", headers: request.headers as Record<string, string>, body, atMs });
    answer(request, response);
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    at: (path) => received.filter((each) => each.path === path),
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
