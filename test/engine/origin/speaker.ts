// An origin that says what a test tells it to: frames and errors as they are, and how they break. No model runs here.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import type { AddressInfo } from "node:net";
import { headerLength, headerLengthBytes, parseHeader } from "../../../src/checkpoint/safetensors.ts";

/** One request as it came. */
export interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  /** Of a POST, from its metadata. */
  options: Record<string, unknown>;
  /** Of a POST: names and lengths of its tensors. */
  tensors: Record<string, number | undefined>;
}

export type Answer = (asked: Asked, response: ServerResponse) => void | Promise<void>;

export interface Speaker {
  url: string;
  asked: Asked[];
  /** What the next requests are answered with. */
  answer: Answer;
  close(): Promise<void>;
}

/** A server on a port of its own. */
export async function speaker(): Promise<Speaker> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    void readAsked(request).then((one) => {
      asked.push(one);
      return self.answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const self: Speaker = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/a/path/`,
    asked,
    answer: () => undefined,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return self;
}

async function readAsked(request: IncomingMessage): Promise<Asked> {
  const { method = "", url = "", headers } = request;
  const common = { method, path: url, headers };
  if (method !== "POST") {
    await text(request);
    return { ...common, options: {}, tensors: {} };
  }
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const body = Buffer.concat(parts);
  const json = body.subarray(headerLengthBytes, headerLengthBytes + headerLength(body, body.byteLength, "body"));
  const { metadata, tensors } = parseHeader(json, body.byteLength, "body");
  const lengths = Object.fromEntries(Array.from(tensors, ([name, { shape }]) => [name, shape[0]]));
  return { ...common, options: JSON.parse(metadata["options"] ?? "") as Record<string, unknown>, tensors: lengths };
}

/** Begins a stream of frames, as an origin does. */
export const begin = (response: ServerResponse, headers: Record<string, string> = {}): ServerResponse =>
  response.writeHead(200, { "content-type": "application/octet-stream", "x-griffin-protocol": "1", ...headers });

/** Answers with an error, as an origin does. */
export function refuse(response: ServerResponse, status: number, code: string, headers: Record<string, string> = {}) {
  response.writeHead(status, { "content-type": "application/json", "x-griffin-protocol": "1", ...headers });
  response.end(JSON.stringify({ error: { code, message: "because" } }));
}
