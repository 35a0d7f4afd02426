// A real server that asks for keys, one key of it, and a receiver that it may reach: what subcommands about webhooks need.
import { administrator } from "../serve/administrator.ts";
import { startReceiver, type Receiver } from "../serve/receiver.ts";
import { startServer, type TestServer } from "../server.ts";

export interface TenantServer {
  server: TestServer;
  receiver: Receiver;
  /** A key of its one tenant. */
  key: string;
  stop(): Promise<void>;
}

export async function startTenantServer(): Promise<TenantServer> {
  const receiver = await startReceiver();
  const server = await startServer({ environment: { ADMIN_KEY: "administrators", WEBHOOKS_DEVELOPMENT: "1" } });
  const admin = administrator(server.url, "administrators");
  const { secret: key } = await admin.createKey((await admin.createTenant("Ada")).id, { name: "k" });
  return {
    server,
    receiver,
    key,
    async stop() {
      receiver.stop();
      await server.stop();
    },
  };
}
