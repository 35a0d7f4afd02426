import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { fingerprint, fingerprints } from "./fingerprint.ts";
import { formats } from "../../src/model/weights.ts";
import { kernelModule, plainModule } from "./models.ts";

const pocket = path.resolve(import.meta.dirname, "../../models/pocket");

describe("the logits of pocket in Node", () => {
  it.each(formats)("are the same bits as everywhere, in %s", async (format) => {
    const read = (file: string) => readFile(path.join(pocket, file));
    for (const module of [plainModule, kernelModule]) {
      expect(await fingerprint(module, read, format)).toBe(fingerprints[format]);
    }
  });
});
