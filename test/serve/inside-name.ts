// A program of its own: tests a webhook to a name that its /etc/hosts maps to this machine, on a server in development and
// on one that is not, and prints how often something connected here.
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { startServer } from "../server.ts";

const [name = ""] = process.argv.slice(2);
let connections = 0;
const listener = createServer((socket) => {
  connections++;
  socket.destroy();
}).listen(0, "::");
await once(listener, "listening");
const { port } = listener.address() as AddressInfo;

const outcomes: object[] = [];
for (const flag of ["", "1"]) {
  const server = await startServer({ environment: { WEBHOOKS_DEVELOPMENT: flag } });
  const post = async (path: string, body: object) => {
    const answer = await fetch(server.url + path, { method: "POST", body: JSON.stringify(body) });
    return (await answer.json()) as { id?: string; error?: unknown };
  };
  const { id } = await post("/v1/webhook_endpoints", { url: `https://${name}:${port}/` });
  const { error } = await post(`/v1/webhook_endpoints/${id}/test`, {});
  outcomes.push({ isMade: id !== undefined, error, connections });
  await server.stop();
}
listener.close();
console.log(JSON.stringify(outcomes));
