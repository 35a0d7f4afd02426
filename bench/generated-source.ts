// A Hugging Face folder that is nowhere: its tensors are made as they are read, so a model of any size converts as a real
// one does, in no more memory or disk. An element depends on its place alone: read twice, it is the same.
import { encodeHeader } from "../src/checkpoint/safetensors.ts";
import type { Source } from "../src/checkpoint/source.ts";
import { configToJson, type Config } from "../src/model/config.ts";
import { convTaps, weightSpecs, type WeightSpec } from "../src/model/weights.ts";
import { normal } from "../test/reference/random-model.ts";

const elementBytes = 2;
/** Elements after which a tensor repeats: a prime, so that no two rows are alike. */
const period = 1_048_573;
const seed = 2402;

/** A source with random bfloat16 weights of ordinary magnitudes. */
export function generatedSource(config: Config): Source {
  const specs = weightSpecs(config);
  const {
    bytes: head,
    header,
    fileBytes,
  } = encodeHeader(
    specs.map(({ name, shape }) => ({
      name: `model.${name}`,
      dtype: "BF16",
      shape: name.endsWith("conv_1d.weight") ? [shape[1] ?? 0, 1, convTaps] : [...shape],
    })),
  );
  const files: Record<string, { bytes: number; read(offsetBytes: number, lengthBytes: number): Uint8Array }> = {
    "config.json": whole(new TextEncoder().encode(JSON.stringify(configToJson(config)))),
    "model.safetensors": {
      bytes: fileBytes,
      read(offsetBytes, lengthBytes) {
        if (offsetBytes + lengthBytes <= head.byteLength) return head.slice(offsetBytes, offsetBytes + lengthBytes);
        const at = offsetBytes - header.dataStartBytes;
        const spec = specs.find(({ name }) => {
          const entry = header.tensors.get(`model.${name}`);
          return entry !== undefined && entry.beginBytes <= at && at < entry.endBytes;
        });
        if (spec === undefined) throw new Error(`There is no tensor at byte ${offsetBytes}.`);
        return elements(
          spec,
          (at - (header.tensors.get(`model.${spec.name}`)?.beginBytes ?? 0)) / elementBytes,
          lengthBytes,
        );
      },
    },
  };
  return {
    size: async (file) => files[file]?.bytes ?? null,
    read: async (file, offsetBytes, lengthBytes) => files[file]?.read(offsetBytes, lengthBytes) ?? new Uint8Array(),
  };
}

const whole = (content: Uint8Array) => ({
  bytes: content.byteLength,
  read: (offsetBytes: number, lengthBytes: number) => content.slice(offsetBytes, offsetBytes + lengthBytes),
});

/** bfloat16 from element `first` of a tensor on. */
function elements(spec: WeightSpec, first: number, lengthBytes: number): Uint8Array {
  const noise = noiseOf(spec);
  const out = new Uint16Array(lengthBytes / elementBytes);
  for (let at = 0; at < out.length;) {
    const from = (first + at) % period;
    const run = Math.min(out.length - at, period - from);
    out.set(noise.subarray(from, from + run), at);
    at += run;
  }
  return new Uint8Array(out.buffer);
}

let noise: Float32Array | undefined;
const scaled = new Map<number, Uint16Array>();

/** A period of a tensor's elements: all tensors of one magnitude share it. */
function noiseOf({ name, shape }: WeightSpec): Uint16Array {
  const random = normal(seed);
  noise ??= Float32Array.from({ length: period }, random);
  const inputs = shape.at(-1) ?? 1;
  const isRate = name.endsWith("recurrent_param");
  const deviation = name.startsWith("embed")
    ? 1 / Math.sqrt(inputs)
    : /bias$|norm/.test(name)
      ? 0.1
      : 1 / Math.sqrt(inputs);
  const key = isRate ? -1 : deviation;
  const known = scaled.get(key);
  if (known !== undefined) return known;
  // softplus of −4 and around it: decays near 1.
  const values = noise.map((value) => (isRate ? -4 + value : value * deviation));
  const made = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
  scaled.set(key, made);
  return made;
}
