// States as files: every state comes back bit for bit, and nothing that is not one does.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeHeader, headerLengthBytes } from "../../src/checkpoint/safetensors.ts";
import { decodeStateFile, encodeStateFile, stateFileLimitBytes, type StateModel } from "../../src/engine/state-file.ts";
import type { GriffinError } from "../../src/errors.ts";
import type { Config } from "../../src/model/config.ts";
import { emptyState, isRing, stateLayout, type KvDtype, type State } from "../../src/model/state.ts";

const sizes = { blockTypes: ["recurrent", "attention"], lruWidth: 3, numKvHeads: 2, headDim: 2, window: 5 };
const modelOf = (kv: KvDtype): StateModel => ({
  checkpoint: "c".repeat(64),
  graph: "9".repeat(64),
  layout: stateLayout(sizes as unknown as Config, kv),
  window: sizes.window,
  vocabSize: 100,
});

/** A state at a position, its values made of a few finite ones; what the position has not reached is zero. */
function stateAt(model: StateModel, position: number, values: readonly number[]): State {
  const state = { ...emptyState(model.layout), position };
  const view = new DataView(state.data.buffer);
  for (const entry of model.layout.entries) {
    const bytes = entry.dtype === "f32" ? 4 : 2;
    const rows = isRing(entry) ? Math.min(position, entry.shape[0]) : entry.shape[0];
    const used = (entry.lengthBytes / entry.shape[0]) * rows;
    for (let i = 0; i < used / bytes; i++) {
      const value = values[i % values.length] ?? 0;
      const at = entry.offsetBytes + bytes * i;
      if (entry.dtype === "f32") view.setFloat32(at, value, true);
      else view.setUint16(at, (new Uint32Array(new Float32Array([value]).buffer)[0] ?? 0) >>> 16, true);
    }
  }
  return state;
}

const carried = fc.record({
  kv: fc.constantFrom<KvDtype>("f32", "bf16"),
  position: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 9, max: 2 ** 31 - 1 })),
  values: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 9 }),
  tokens: fc.array(fc.integer({ min: 0, max: 99 }), { minLength: 1, maxLength: 5 }),
});

function fault(decode: () => unknown): string {
  try {
    decode();
  } catch (error) {
    expect((error as GriffinError).code).toBe("invalid_state");
    return (error as GriffinError).message;
  }
  throw new Error("it was taken");
}

describe("a state's file", () => {
  it("brings back any state bit for bit, within the limit that is said", () => {
    fc.assert(
      fc.property(carried, ({ kv, position, values, tokens }) => {
        const model = modelOf(kv);
        const state = stateAt(model, position, values);
        const last = tokens.slice(0, position);
        const file = encodeStateFile({ state, tokens: last }, model);
        expect(file.byteLength).toBeLessThanOrEqual(stateFileLimitBytes(model));
        expect(decodeStateFile(file, model)).toEqual({ state, tokens: last });
      }),
      { seed: 7 },
    );
  });

  it("is refused when any byte of it is another one, or any end is missing", () => {
    fc.assert(
      fc.property(carried, fc.nat(1_000_000), fc.integer({ min: 1, max: 255 }), (given, at, flip) => {
        const model = modelOf(given.kv);
        const state = stateAt(model, given.position, given.values);
        const file = encodeStateFile({ state, tokens: given.tokens.slice(0, given.position) }, model);
        const where = at % file.byteLength;
        fault(() => decodeStateFile(file.subarray(0, where), model));
        const damaged = file.slice();
        damaged[where] = (damaged[where] ?? 0) ^ flip;
        // White space for white space is the same header.
        const isHeader = where >= headerLengthBytes && where < file.byteLength - state.data.byteLength;
        if (isHeader && /^\s\s$/.test(String.fromCharCode(file[where] ?? 0, damaged[where] ?? 0))) return;
        fault(() => decodeStateFile(damaged, model));
      }),
      { seed: 7, numRuns: 500 },
    );
  });

  it("is refused where it is whole but cannot be this model's state", () => {
    const model = modelOf("f32");
    const tokens = [1, 2];
    const state = stateAt(model, 3, [0.5, -1]);
    const changed = (change: (view: DataView) => void): State => {
      const data = state.data.slice();
      change(new DataView(data.buffer));
      return { ...state, data };
    };
    const file = (other: Partial<StateModel>, given = state, last = tokens) =>
      encodeStateFile({ state: given, tokens: last }, { ...model, ...other });
    const keys = model.layout.entries.find(isRing)?.offsetBytes ?? 0;
    const wider = { ...sizes, lruWidth: 4 } as unknown as Config;
    const wide = { layout: stateLayout(wider, "f32") };
    const cases: [string, Uint8Array][] = [
      ["another model", file({ checkpoint: "d".repeat(64) })],
      ["another model", file({ graph: "d".repeat(64) })],
      ["layers.0.rg_lru is not F32 [3]", file(wide, stateAt({ ...model, ...wide }, 3, [1]))],
      ["layers.1.keys is not F32", file(modelOf("bf16"), stateAt(modelOf("bf16"), 3, [1]))],
      [
        "not finite",
        file(
          {},
          changed((view) => view.setFloat32(4, NaN, true)),
        ),
      ],
      [
        "not finite",
        file(
          {},
          changed((view) => view.setFloat32(keys, -Infinity, true)),
        ),
      ],
      [
        "behind position 3",
        file(
          {},
          changed((view) => view.setFloat32(keys + 3 * 16, 1, true)),
        ),
      ],
      ["position is not one from 1", file({}, { ...state, position: 2 ** 31 })],
      ["position is not one from 1", file({}, { ...state, position: 0 })],
      ["4 tokens", file({}, state, [1, 2, 3, 4])],
      ["0 tokens", file({}, state, [])],
      ["not in the vocabulary", file({}, state, [100])],
      ["no safetensors file", new Uint8Array(100)],
      ["no state", encodeHeader([], { sha256: "" }).bytes],
    ];
    for (const [message, bytes] of cases) expect(fault(() => decodeStateFile(bytes, model))).toContain(message);
    expect(decodeStateFile(file({}), model).state).toEqual(state);
  });
});
