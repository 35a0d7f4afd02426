// What other chats of an isolate notice of a long prompt, and what loading a model takes of its heap; in workerd.
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Format } from "../../src/model/weights.ts";
import { named, type Figure } from "../figure.ts";
import { checkpointFolder } from "../models.ts";
import type { Section } from "../report.ts";
import { interleave, type Contender } from "../rounds.ts";
import { hostSlots } from "./host.ts";
import { memoryBytes } from "./large.ts";
import { loadModel } from "./subject.ts";
import { startWorkerd, type Workerd } from "./workerd.ts";

const promptTokens = 1_000;
const pollMs = 5;
const mostHeap = "at most, while it loads";

export async function measureIsolate(): Promise<Section[]> {
  const formats: Format[] = ["f32", "int8", "int4"];
  const waiting = await inWorkerd(async ({ ask }) => {
    const contenders: Contender[] = [];
    for (const format of formats) {
      const folder = path.basename(await checkpointFolder("30M", format));
      contenders.push({
        name: `the longest wait for a token beside it, ${format}`,
        unit: "ms",
        measure: async () => longestWaitMs(await ask({ folder, tokens: promptTokens, through: "beside" })),
      });
    }
    return interleave(contenders);
  });
  const folder = path.basename(await checkpointFolder("52M", "int8"));
  const heap = await inWorkerd((workerd) => heapWhileLoading(workerd, folder));
  const memory = memoryBytes(await loadModel("52M", "int8", { slots: hostSlots }));
  const [most = NaN] = named(heap, mostHeap).values;
  const both: Figure = { name: "the same with the WASM memory", unit: "bytes", values: [most + memory] };
  return [
    {
      title: `A chat beside a prompt of ${promptTokens} tokens in one isolate of workerd, 30 M parameters`,
      figures: waiting,
    },
    { title: "Heap of an isolate of workerd while it loads 52 M parameters in int8", figures: [...heap, both] },
  ];
}

async function inWorkerd<T>(run: (workerd: Workerd) => Promise<T>): Promise<T> {
  const workerd = await startWorkerd();
  try {
    return await run(workerd);
  } finally {
    workerd.stop();
  }
}

/** Of a stream that gets a byte for every token. */
async function longestWaitMs({ body }: Response): Promise<number> {
  let longestMs = 0;
  let lastMs: number | undefined;
  for await (const _ of body ?? []) {
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - (lastMs ?? nowMs));
    lastMs = nowMs;
  }
  return longestMs;
}

/** What V8 says it uses: JavaScript's heap, what the embedder keeps there, and buffers. WASM memory is not among them. */
interface HeapUsage {
  usedSize: number;
  embedderHeapUsedSize?: number;
  backingStorageSize?: number;
}

async function heapWhileLoading({ ask, inspectorPort }: Workerd, folder: string): Promise<Figure[]> {
  const heapBytes = await inspector(inspectorPort);
  const before = await heapBytes();
  let isLoading = true;
  const loading = ask({ folder, tokens: 0, through: "load" }).then((answer) => answer.arrayBuffer());
  void loading.finally(() => (isLoading = false));
  let most = before;
  while (isLoading) {
    most = Math.max(most, await heapBytes());
    await sleep(pollMs);
  }
  await loading;
  const after = await heapBytes();
  const bytes = (name: string, value: number): Figure => ({ name, unit: "bytes", values: [value] });
  return [bytes("before", before), bytes(mostHeap, most), bytes("loaded", after)];
}

/** Asks an isolate's inspector, over the protocol of Chrome's developer tools. */
async function inspector(port: number): Promise<() => Promise<number>> {
  const targets = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as { webSocketDebuggerUrl: string }[];
  const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? "");
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", reject, { once: true });
  });
  let asked = 0;
  return async () => {
    const id = ++asked;
    const answer = new Promise<HeapUsage>((resolve) => {
      const listen = ({ data }: MessageEvent) => {
        const message = JSON.parse(String(data)) as { id?: number; result?: HeapUsage };
        if (message.id !== id || message.result === undefined) return;
        socket.removeEventListener("message", listen);
        resolve(message.result);
      };
      socket.addEventListener("message", listen);
    });
    socket.send(JSON.stringify({ id, method: "Runtime.getHeapUsage" }));
    const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = await answer;
    return usedSize + embedderHeapUsedSize + backingStorageSize;
  };
}
