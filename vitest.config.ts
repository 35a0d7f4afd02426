import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Whatever is waited for may take long on a machine that has other things to do. */
const common = {
  fsModuleCache: false,
  testTimeout: 60_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 20_000 } },
};

/** Where .ci/run wants the results as JSON. */
const report = process.env["VITEST_REPORT"];

const isLong = ({ moduleId }: TestSpecification) => moduleId.endsWith("test/origin/pytest.test.ts");

/** What takes minutes begins first, though its file is small: nothing waits for it alone in the end. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    // Many tests wait for servers: a core less than there are would idle.
    maxWorkers: "100%",
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
    projects: [
      {
        test: {
          ...common,
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: ["test/worker/**", "test/large/**"],
        },
      },
      {
        plugins: [cloudflareTest({ wrangler: { configPath: "./test/worker/wrangler.toml" } })],
        test: { ...common, name: "workerd", include: ["test/worker/**/*.test.ts"] },
      },
    ],
  },
});
