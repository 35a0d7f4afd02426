import path from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  root: path.resolve(import.meta.dirname, "../.."),
  test: { fsModuleCache: false, include: ["test/large/**/*.test.ts"], testTimeout: 30 * 60_000 },
});
