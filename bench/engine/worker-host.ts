// A worker that decodes when it is told to, under workerd (hosts.ts): POST a task.
import kernels from "../../dist/griffin-relaxed.wasm";
import { EdgeEngine } from "../../src/engine/edge.ts";
import { decoder, type Task } from "./host.ts";

interface Env {
  FILES: { fetch(url: string): Promise<Response> };
}

let decode: ReturnType<typeof decoder> | undefined;

export default {
  async fetch(request: Request, { FILES }: Env): Promise<Response> {
    decode ??= decoder((folder) =>
      EdgeEngine.load(kernels, async (name) => {
        const { ok, status, body } = await FILES.fetch(`http://files/${folder}/${name}`);
        if (!ok || body === null) throw new Error(`${folder}/${name}: status ${status}`);
        return body;
      }),
    );
    await decode((await request.json()) as Task);
    return new Response("done");
  },
};
