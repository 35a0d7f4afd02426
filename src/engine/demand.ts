// Which rows of every value somebody needs. A prompt is read for its state and for the logits of its last token, so
// the head, and all that only the head looks at, runs on one row; without logits it does not run at all.
import { signatures } from "../model/functions.ts";
import type { Graph } from "../model/graph.ts";

/** Rows of the logits a plan computes. */
export type Rows = "none" | "last" | "all";

const more = (a: Rows, b: Rows): Rows =>
  a === "all" || b === "all" ? "all" : a === "last" || b === "last" ? "last" : "none";

/** Rows computed of every value that is needed at all; states are needed whole. */
export function demandedRows(graph: Graph, logits: Rows): Map<string, Rows> {
  const demand = new Map<string, Rows>(graph.outputs.map(({ name }) => [name, name === "logits" ? logits : "all"]));
  for (const node of graph.nodes.toReversed()) {
    const wanted = node.outputs.map((name) => demand.get(name) ?? "none").reduce(more, "none");
    if (wanted === "none") continue;
    // A function whose rows hang together runs on all of them, and so writes all of them.
    const rows = signatures[node.operator].rowWise ? wanted : "all";
    for (const name of node.outputs) demand.set(name, rows);
    for (const name of node.inputs) demand.set(name, more(demand.get(name) ?? "none", rows));
  }
  return demand;
}
