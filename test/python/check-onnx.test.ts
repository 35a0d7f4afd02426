// The graphs we build, in the eyes of ONNX's own checker. It needs Python with test/python/requirements.txt in .venv.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { checkpointBytes } from "../parity/onnx-runtime.ts";
import { randomModel, randomModelNames } from "../reference/random-model.ts";

const pathTo = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const python = pathTo("../../.venv/bin/python");
const hasPython = existsSync(python);

it.skipIf(!hasPython)(
  `onnx.checker accepts every graph, with shapes inferred${hasPython ? "" : " (skipped: no .venv with test/python/requirements.txt)"}`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), "griffin-onnx-"));
    try {
      const files = randomModelNames.flatMap((name) =>
        (["f32", "bf16"] as const).map((format) => {
          const { config, tensors } = randomModel(name);
          const { graph, weights } = checkpointBytes(config, tensors, format, format);
          const checkpoint = join(folder, `${name}-${format}`);
          mkdirSync(checkpoint);
          writeFileSync(join(checkpoint, "weights.safetensors"), weights);
          writeFileSync(join(checkpoint, "graph.onnx"), graph);
          return join(checkpoint, "graph.onnx");
        }),
      );
      const report = execFileSync(python, [pathTo("check_onnx.py"), ...files], { encoding: "utf8" });
      expect(report.match(/ valid$/gm)?.length).toBe(files.length);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);
