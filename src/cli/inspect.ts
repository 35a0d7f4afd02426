// griffin inspect: what a checkpoint folder holds, in words or as JSON.
import { readGraph } from "../model/graph.ts";
import { decodeModel } from "../model/onnx.ts";
import { readCheckpoint } from "./engine.ts";

/** Prints a checkpoint's sizes, formats and files. Reads everything but the weights. */
export async function inspect(folder: string, options: { json?: boolean }): Promise<void> {
  const { manifest, config, graph: graphBytes } = await readCheckpoint(folder);
  if (options.json) {
    console.log(JSON.stringify(manifest, null, 2));
    return;
  }
  const graph = readGraph(decodeModel(graphBytes));
  const blocks = config.blockTypes.map((type) => (type === "recurrent" ? "R" : "A")).join(" ");
  const rows: [string, string | number][] = [
    ["parameters", manifest.parameters.toLocaleString("en")],
    ["format", `${manifest.format}, key/value window ${manifest.kv}`],
    ["blocks", `${config.blockTypes.length}: ${blocks}`],
    ["width", `${config.width}, lru ${config.lruWidth}, MLP ${config.mlpWidth}`],
    ["heads", `${config.numHeads} of ${config.headDim}, ${config.numKvHeads} key/value`],
    ["window", `${config.window} tokens`],
    ["vocabulary", config.vocabSize.toLocaleString("en")],
    ["activation", config.activation],
    ["soft cap", config.logitsSoftCap ?? "off"],
    ["head", config.tied ? "the embedding table" : "a matrix of its own"],
    ["state", `${manifest.state_bytes.toLocaleString("en")} bytes, whatever the length of the chat`],
    ["chat", manifest.chat ? "yes" : "no: the checkpoint has no chat tokens"],
    ["stop tokens", manifest.stop_token_ids.join(", ")],
    ["graph", `${graph.nodes.length} nodes`],
    ...Object.entries(manifest.files).map(([name, file]): [string, string] => [
      name,
      file ? `${file.bytes.toLocaleString("en")} bytes, sha256 ${file.sha256}` : "none",
    ]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) console.log(`${name.padEnd(width)}  ${value}`);
}
