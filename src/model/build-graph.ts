// Builds the kernel graph of a Config: the calls of our functions in execution order, their bodies, and initializers
// that point into weights.safetensors. Values are named after the node that makes them, states as in StateLayout.
import { GriffinError } from "../errors.ts";
import { functionBody, opset } from "./bodies.ts";
import { float, int, node, type Attributes } from "./body-builder.ts";
import type { Config } from "./config.ts";
import { functionNames, signatures, type FunctionSignature, type OperatorName } from "./functions.ts";
import { domain, domainOf, domainVersion, weightDataTypes, weightsFile, type StoredTensor } from "./graph.ts";
import {
  DataLocation,
  DataType,
  tensorValue,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "./onnx.ts";
import { stateLayout, type KvDtype } from "./state.ts";
import { scaleName, storedSpecs, weightSpecs, type Format, type StoredSpec } from "./weights.ts";

/** What a graph depends on besides its Config. */
export interface GraphOptions {
  /** What keys and values are rounded to. */
  kv: KvDtype;
  /** What the matrices are stored in. */
  format: Format;
  /** Where each of the format's tensors lies in weights.safetensors, and as what. */
  weights: (name: string) => StoredTensor;
}

const irVersion = 10;
const kvDataType = { f32: DataType.float, bf16: DataType.bfloat16 } as const satisfies Record<KvDtype, number>;

/** The ONNX model of a Config: inputs `tokens`, `pos` and the states; outputs `logits` and `{state}.out`. */
export function buildGraph(config: Config, options: GraphOptions): ModelProto {
  const nodes = calls(config, options);
  const states = stateLayout(config, options.kv).entries;
  const state = (suffix: string) => states.map(({ name, shape }) => tensorValue(name + suffix, DataType.float, shape));
  const used = new Set(nodes.map((each) => each.opType));
  return {
    irVersion,
    producerName: "griffin-edge",
    graph: {
      node: nodes,
      name: "griffin",
      initializer: weightSpecs(config)
        .flatMap((spec) => storedSpecs(spec, options.format))
        .map((spec) => initializer(spec, options.weights(spec.name))),
      input: [tokenValue("tokens"), tokenValue("pos"), ...state("")],
      output: [tensorValue("logits", DataType.float, ["T", config.vocabSize]), ...state(".out")],
    },
    opsetImport: [
      { domain: "", version: opset },
      { domain, version: domainVersion },
    ],
    functions: functionNames.filter((name) => used.has(name)).map(functionBody),
  };
}

const tokenValue = (name: string): ValueInfoProto => tensorValue(name, DataType.int32, ["T"]);

function initializer(spec: StoredSpec, stored: StoredTensor): TensorProto {
  if (stored.shape.join() !== spec.shape.join() || stored.dtype !== spec.dtype) {
    throw new GriffinError(
      "invalid_checkpoint",
      `${spec.name} must be [${spec.shape.join(", ")}] of ${spec.dtype}, got [${stored.shape.join(", ")}] of ${stored.dtype}.`,
    );
  }
  return {
    dims: [...spec.shape],
    dataType: weightDataTypes[stored.dtype],
    name: spec.name,
    externalData: [
      { key: "location", value: weightsFile },
      { key: "offset", value: String(stored.offsetBytes) },
      { key: "length", value: String(stored.lengthBytes) },
    ],
    dataLocation: DataLocation.external,
  };
}

/** All nodes, in execution order. */
function calls(config: Config, { kv, format }: GraphOptions): NodeProto[] {
  const nodes: NodeProto[] = [];
  /** Adds a call; output 0 is named `y` or else as the node, the states as their inputs + `.out`. */
  const call = (
    operator: OperatorName,
    name: string,
    inputs: readonly string[],
    attributes: Attributes = {},
    y = name,
  ): string => {
    const signature: FunctionSignature = signatures[operator];
    const outputs = signature.outputs.map((output) => {
      const replaced = signature.state?.[output];
      return replaced === undefined ? y : `${inputs[signature.inputs.indexOf(replaced)]}.out`;
    });
    nodes.push({ ...node(operator, inputs, outputs, attributes), name, domain: domainOf(operator) });
    return y;
  };
  const norm = (name: string, x: string) =>
    call("rms_norm", name, [x, `${name}.weight`], { epsilon: float(config.rmsNormEpsilon) });
  const isNarrow = format === "int8" || format === "int4";
  /** A matrix as an operand: by itself, or with its scales. */
  const matrix = (name: string) => (isNarrow ? [name, scaleName(name)] : [name]);
  const multiply = (name: string, x: string, weight: string, bias: string[], y = name) =>
    call(isNarrow ? "linear_q" : "linear", name, [x, ...matrix(weight), ...bias], {}, y);
  const linear = (name: string, x: string, weights: string, bias = true) =>
    multiply(name, x, `${weights}.weight`, bias ? [`${weights}.bias`] : []);
  /** Of the MLP and of the recurrent block alike, as Hugging Face's `hidden_activation` is. */
  const gated = config.activation === "silu" ? "silu_mul" : "gelu_mul";

  const recurrent = (layer: string, x: string): string => {
    const name = `${layer}.temporal`;
    const weights = `${layer}.temporal_block`;
    const lru = `${weights}.rg_lru`;
    const u = linear(`${name}.linear_x`, x, `${weights}.linear_x`);
    const conv = `${weights}.conv_1d`;
    const c = call("causal_conv1d", `${name}.conv1d`, [u, `${conv}.weight`, `${conv}.bias`, `${layer}.conv1d`]);
    const gate = (which: string) =>
      call("block_diagonal", `${name}.${which}`, [c, `${lru}.${which}_weight`, `${lru}.${which}_bias`]);
    const inputGate = gate("input_gate");
    const recurrentGate = gate("recurrent_gate");
    const state = `${layer}.rg_lru`;
    const h = call("rg_lru", `${name}.rg_lru`, [c, inputGate, recurrentGate, `${lru}.recurrent_param`, "pos", state]);
    const y = linear(`${name}.linear_y`, x, `${weights}.linear_y`);
    return linear(`${name}.linear_out`, call(gated, `${name}.gated`, [y, h]), `${weights}.linear_out`);
  };

  const attention = (layer: string, x: string): string => {
    const name = `${layer}.temporal`;
    const weights = `${layer}.temporal_block`;
    const project = (which: string) => linear(`${name}.${which}`, x, `${weights}.${which}`, config.attentionBias);
    const inputs = [project("q_proj"), project("k_proj"), project("v_proj"), "pos", `${layer}.keys`, `${layer}.values`];
    const y = call("local_attention", `${name}.attention`, inputs, {
      head_dim: int(config.headDim),
      rotary_dim: int(config.rotaryDim),
      rope_theta: float(config.ropeTheta),
      kv_dtype: int(kvDataType[kv]),
    });
    return linear(`${name}.o_proj`, y, `${weights}.o_proj`);
  };

  const mlp = (layer: string, x: string): string => {
    const name = `${layer}.mlp`;
    const weights = `${layer}.mlp_block`;
    const gate = linear(`${name}.gate_proj`, x, `${weights}.gate_proj`);
    const up = linear(`${name}.up_proj`, x, `${weights}.up_proj`);
    return linear(`${name}.down_proj`, call(gated, `${name}.gated`, [gate, up]), `${weights}.down_proj`);
  };

  const embed = isNarrow ? "embed_q" : "embed";
  let x = call(embed, "embed", ["tokens", ...matrix("embed_tokens.weight")], { scale: float(config.embedScale) });
  config.blockTypes.forEach((type, i) => {
    const layer = `layers.${i}`;
    const temporal = type === "recurrent" ? recurrent : attention;
    x = call("Add", `${layer}.temporal.residual`, [x, temporal(layer, norm(`${layer}.temporal_pre_norm`, x))]);
    x = call("Add", `${layer}.mlp.residual`, [x, mlp(layer, norm(`${layer}.channel_pre_norm`, x))]);
  });
  const head = config.tied ? "embed_tokens.weight" : "lm_head.weight";
  const capped = config.logitsSoftCap !== null;
  const logits = multiply("head", norm("final_norm", x), head, [], capped ? "head" : "logits");
  if (config.logitsSoftCap !== null)
    call("soft_cap", "soft_cap", [logits], { cap: float(config.logitsSoftCap) }, "logits");
  return nodes;
}
