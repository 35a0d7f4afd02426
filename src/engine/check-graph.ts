// A graph and the config beside it must describe one model: the engine lays out memory by the one and runs the other.
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import type { Graph } from "../model/graph.ts";
import { DataType } from "../model/onnx.ts";
import type { KvDtype, StateLayout } from "../model/state.ts";

/** Refuses a graph whose states, vocabulary, heads or gates are not the config's; names the first that differs. */
export function checkGraph(graph: Graph, layout: StateLayout, config: Config, kv: KvDtype): void {
  const shapes = new Map([...graph.inputs, ...graph.outputs].map(({ name, shape }) => [name, `[${shape.join(", ")}]`]));
  const expected = new Map<string, string>([
    ["tokens", "[T]"],
    ["pos", "[T]"],
    ["logits", `[T, ${config.vocabSize}]`],
    ...layout.entries.flatMap(({ name, shape }): [string, string][] => [
      [name, `[${shape.join(", ")}]`],
      [`${name}.out`, `[${shape.join(", ")}]`],
    ]),
  ]);
  for (const name of new Set([...expected.keys(), ...shapes.keys()])) {
    const [want, got] = [expected.get(name), shapes.get(name)];
    if (want !== got) differ(`"${name}" is ${got ?? "missing"}`, want ?? "no such value");
  }
  const attention = {
    kv_dtype: kv === "bf16" ? DataType.bfloat16 : DataType.float,
    head_dim: config.headDim,
    rotary_dim: config.rotaryDim,
    rope_theta: Math.fround(config.ropeTheta),
  };
  for (const { name, operator, attributes, inputs } of graph.nodes) {
    if (operator === "local_attention") {
      for (const [attribute, want] of Object.entries(attention)) {
        const got = attributes[attribute];
        if (got !== want) differ(`${attribute} of node "${name}" is ${got}`, String(want));
      }
    } else if (operator === "block_diagonal") {
      const [blocks = 0, size = 0] = graph.initializers.get(inputs[1] ?? "")?.shape ?? [];
      if (blocks * size === config.lruWidth) continue;
      differ(`node "${name}" has ${blocks} blocks of ${size}`, `blocks of ${config.lruWidth} together`);
    }
  }
}

function differ(got: string, expected: string): never {
  throw new GriffinError(
    "invalid_graph",
    `graph.onnx and model.json are not of one model: ${got}, expected ${expected}. Convert the checkpoint again.`,
  );
}
