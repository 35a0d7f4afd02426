// graphs.ts SHAPES FORMAT FOLDER: graph.onnx and model.json of a Griffin with those shapes, as `griffin convert` writes
// them of a checkpoint with generated weights. The weights go through the converter and are not kept: the benchmark makes
// its own in memory, of the types and shapes that the graph names.
import { models } from "../../bench/models.ts";
import { generatedSource } from "../../bench/generated-source.ts";
import { convert, type FileWriter, type Target } from "../../src/checkpoint/convert.ts";
import { folderTarget } from "../../src/cli/files.ts";
import { nodeHash } from "../../src/cli/hash.ts";
import type { Config } from "../../src/model/config.ts";
import { weightsFile } from "../../src/model/graph.ts";
import { formats } from "../../src/model/weights.ts";

const small = models["30M"];

const shapes: Readonly<Record<string, Config>> = {
  tiny: {
    ...small,
    vocabSize: 300,
    width: 64,
    lruWidth: 64,
    mlpWidth: 96,
    blockTypes: ["recurrent", "recurrent", "attention"],
    numHeads: 2,
    headDim: 32,
    window: 16,
    rotaryDim: 16,
    embedScale: 8,
  },
  small,
  "2b": models["2B"],
};

const isWeights = (file: string) => file.startsWith(weightsFile);
const nowhere: FileWriter = { write: async () => undefined, close: async () => undefined };

/** A folder that forgets the weights. */
function withoutWeights(folder: string): Target {
  const target = folderTarget(folder);
  return {
    create: async (file) => (isWeights(file) ? nowhere : target.create(file)),
    rename: async (from, to) => (isWeights(from) ? undefined : target.rename(from, to)),
    remove: async (file) => (isWeights(file) ? undefined : target.remove(file)),
  };
}

const [name = "", wanted = "", folder = ""] = process.argv.slice(2);
const config = shapes[name];
const format = formats.find((each) => each === wanted);
if (config === undefined || format === undefined || folder === "") {
  console.error(`graphs.ts ${Object.keys(shapes).join("|")} ${formats.join("|")} FOLDER`);
  process.exit(2);
}
await convert(generatedSource(config), withoutWeights(folder), { format, createHash: nodeHash });
