// A real server that asks for keys, one key of it, and a receiver that it may reach: what subcommands about webhooks need.
import { administrator } from "../serve/administrator.ts";
import { startReceiver, type Receiver } from "../serve/receiver.ts";
import { startServer, type TestServer } from "../server.ts";

export interface TenantServer {
  server: TestServer;
  receiver: Receiver;
  /** A key of its one tenant. */
  key: string;
  /** Another one. */
  newKey(): Promise<{ id: string; secret: string }>;
  revoke(key: string): Promise<void>;
  stop(): Promise<void>;
}

export async function startTenantServer(): Promise<TenantServer> {
  const receiver = await startReceiver();
  const server = await startServer({ environment: { ADMIN_KEY: "administrators", WEBHOOKS_DEVELOPMENT: "1" } });
  const admin = administrator(server.url, "administrators");
  const { id: tenant } = await admin.createTenant("Ada");
  const newKey = () => admin.createKey(tenant, { name: "k" });
  const { secret: key } = await newKey();
  return {
    server,
    receiver,
    key,
    newKey,
    async revoke(id) {
      const url = `${server.url}/v1/admin/tenants/${tenant}/keys/${id}`;
      await fetch(url, { method: "DELETE", headers: { authorization: "Bearer administrators" } });
    },
    async stop() {
      receiver.stop();
      await server.stop();
    },
  };
}
