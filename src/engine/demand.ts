// Which rows of every value somebody needs. A prompt is read for its state and for the logits of its last token, so
// the head, and all that only the head looks at, runs on one row; without logits it does not run at all.
import { signatures } from "../model/functions.ts";
import type { Graph } from "../model/graph.ts";

/** Rows of the logits a plan computes. */
export type Rows = "none" | "last" | "all";

const more = (a: Rows, b: Rows): Rows =>
  a === "all" || b === "all" ? "all" : a === "last" || b === "last" ? "last" : "none";

/** Rows needed of every value that is needed at all; states are needed whole. */
export function demandedRows(graph: Graph, logits: Rows): Map<string, Rows> {
  const demand = new Map<string, Rows>(graph.outputs.map(({ name }) => [name, name === "logits" ? logits : "all"]));
  for (const node of graph.nodes.toReversed()) {
    const rows = node.outputs.map((name) => demand.get(name) ?? "none").reduce(more, "none");
    if (rows === "none") continue;
    const wanted = signatures[node.operator].rowWise ? rows : "all";
    for (const name of node.inputs) demand.set(name, more(demand.get(name) ?? "none", wanted));
  }
  return demand;
}
