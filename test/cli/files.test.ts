// Folders on disk: the pocket model is converted, opened and read through node:fs.
import { mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convert } from "../../src/checkpoint/convert.ts";
import { openCheckpoint } from "../../src/checkpoint/load.ts";
import { folderSource, folderTarget, isSameFolder, openFolder } from "../../src/cli/files.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "griffin-files-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("folders on disk", () => {
  it("take a checkpoint and give it back, byte for byte", async () => {
    const out = join(folder, "made", "if need be");
    const { manifest } = await convert(folderSource("models/pocket"), folderTarget(out));
    expect((await readdir(out)).toSorted()).toEqual([
      "graph.onnx",
      "model.json",
      "tokenizer.json",
      "weights.safetensors",
    ]);
    const checkpoint = await openCheckpoint(openFolder(out));
    expect(checkpoint.manifest).toEqual(manifest);
    expect(manifest).toMatchObject({
      format: "bf16",
      kv: "f32",
      parameters: 3_140_544,
      chat: { bos_token_id: 2, start_of_turn_token_id: 4, end_of_turn_token_id: 5 },
      stop_token_ids: [1, 5],
    });
    let bytes = 0;
    for await (const piece of checkpoint.weights()) bytes += piece.bytes.byteLength;
    expect(bytes).toBeGreaterThan(2 * manifest.parameters);

    await truncate(join(out, "weights.safetensors"), 1_000_000);
    const drain = async () => {
      for await (const piece of checkpoint.weights()) bytes += piece.bytes.byteLength;
    };
    await expect(drain()).rejects.toMatchObject({ code: "invalid_checkpoint" });
  });

  it("name a file that is not there, and take no folder for a file", async () => {
    await expect(openFolder(folder)("model.json")).rejects.toMatchObject({ code: "not_found" });
    expect(await folderSource(folder).size("nothing")).toBeNull();
    expect(await folderSource(join(folder, "nowhere")).size("nothing")).toBeNull();
    expect(await folderSource(join(folder, "..")).size(".")).toBeNull();
  });

  it("say where a file ends too soon", async () => {
    await writeFile(join(folder, "short"), "abc");
    await expect(folderSource(folder).read("short", 1, 5)).rejects.toMatchObject({
      code: "invalid_checkpoint",
      message: expect.stringContaining("expected 5 bytes at 1, got 2"),
    });
    expect(Buffer.from(await folderSource(folder).read("short", 1, 2)).toString()).toBe("bc");
  });

  it("succeed in removing what is not there", async () => {
    await folderTarget(folder).remove("nothing");
    await writeFile(join(folder, "something"), "x");
    await folderTarget(folder).rename("something", "else");
    expect(await readFile(join(folder, "else"), "utf8")).toBe("x");
  });

  it("are the same folder under another name", async () => {
    await symlink(folder, join(folder, "link"));
    expect(await isSameFolder(folder, join(folder, "link", "."))).toBe(true);
    expect(await isSameFolder(folder, tmpdir())).toBe(false);
    expect(await isSameFolder(join(folder, "a"), join(folder, "a"))).toBe(false);
  });
});
