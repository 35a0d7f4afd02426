// A graph and the config beside it must describe one model: the engine lays out memory by the one and runs the other.
import { GriffinError } from "../errors.ts";
import type { Config } from "../model/config.ts";
import type { Graph } from "../model/graph.ts";
import { DataType } from "../model/onnx.ts";
import type { KvDtype, StateLayout } from "../model/state.ts";

/** Refuses a graph whose states, window or vocabulary are not the config's; names the first that differs. */
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
  const kvType = kv === "bf16" ? DataType.bfloat16 : DataType.float;
  for (const { name, operator, attributes } of graph.nodes) {
    if (operator !== "local_attention" || attributes["kv_dtype"] === kvType) continue;
    differ(`node "${name}" keeps its window in element type ${attributes["kv_dtype"]}`, `${kvType} (${kv})`);
  }
}

function differ(got: string, expected: string): never {
  throw new GriffinError(
    "invalid_graph",
    `graph.onnx and model.json are not of one model: ${got}, expected ${expected}. Convert the checkpoint again.`,
  );
}
