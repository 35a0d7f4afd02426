// The SQLite files of a server that is down, as workerd keeps them: one for each object.
import { glob } from "node:fs/promises";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestServer } from "../server.ts";

/** The databases of all chats. The server must not run. */
export async function openDatabases(server: TestServer): Promise<DatabaseSync[]> {
  const databases: DatabaseSync[] = [];
  for await (const file of glob("*-Conversation/*.sqlite", { cwd: server.dataDir })) {
    // This one holds the alarms.
    if (path.basename(file) !== "metadata.sqlite") databases.push(new DatabaseSync(path.join(server.dataDir, file)));
  }
  return databases;
}
