// The modules behind bench/ceilings.ts compile and compute: a ceiling that an optimiser emptied would be no ceiling.
import { describe, expect, it } from "vitest";
import { compile } from "../../wasm/build.ts";

const load = async (name: string) => {
  const { instance } = await WebAssembly.instantiate(await compile(`../bench/wasm/${name}.ts`, "relaxed"), {});
  return instance.exports as Record<string, (...args: number[]) => number> & { memory: WebAssembly.Memory };
};

describe("ceilings", () => {
  it.each(["mul_add", "relaxed_madd"])("%s adds up to a finite number", async (name) => {
    const { multiply } = await load(name);
    expect(multiply!(1000)).toBeGreaterThan(1);
    expect(multiply!(1000)).toBeLessThan(100);
  });

  it("relaxed_dot computes something else at every step", async () => {
    const { multiply } = await load("relaxed_dot");
    expect(new Set([1, 2, 3, 4].map((steps) => multiply!(steps))).size).toBe(4);
  });

  it("read looks at every 16 bytes it is given", async () => {
    const { read, memory } = await load("read");
    memory.grow(1);
    const words = new Int32Array(memory.buffer);
    for (let at = 0; at < 4096; at += 16) {
      words[at / 4] = 1;
      expect(read!(0, 4096)).toBe(1);
      words[at / 4] = 0;
    }
  });
});
