// A worker that does what it is told, under workerd (workerd.ts): POST a task. It answers with a byte for every token that
// somebody waits for.
import kernels from "../../dist/griffin-relaxed.wasm";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { hostSlots, worker, type Task } from "./host.ts";

interface Env {
  FILES: { fetch(url: string): Promise<Response> };
}

let work: ReturnType<typeof worker> | undefined;

export default {
  async fetch(request: Request, { FILES }: Env): Promise<Response> {
    work ??= worker((folder) =>
      EdgeEngine.load(
        kernels,
        async (name) => {
          const { ok, status, body } = await FILES.fetch(`http://files/${folder}/${name}`);
          if (!ok || body === null) throw new Error(`${folder}/${name}: status ${status}`);
          return body;
        },
        { slots: hostSlots },
      ),
    );
    const tokens = work((await request.json()) as Task);
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const next = await tokens.next();
          if (next.done) controller.close();
          else controller.enqueue(Uint8Array.of(0));
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body);
  },
};
