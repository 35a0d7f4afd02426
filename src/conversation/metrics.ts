// Metrics of this isolate, in Prometheus' text format: counters and histograms that only grow. An isolate knows of its
// own work alone, and forgets it when it ends; whoever collects adds them up.
// https://prometheus.io/docs/instrumenting/exposition_formats/
import type { TurnView } from "./protocol.ts";

type Labels = Readonly<Record<string, string>>;

interface Series {
  labels: Labels;
  value: number;
  /** Of a histogram: how many values were at most each bound. */
  buckets?: number[];
  count?: number;
}

interface Metric {
  name: string;
  help: string;
  /** Upper bounds of a histogram; absent for a counter. */
  bounds?: readonly number[];
  series: Map<string, Series>;
}

const metrics: Metric[] = [];

/** A counter; returns what adds to it. */
export function counter(name: string, help: string): (labels: Labels, by?: number) => void {
  const metric: Metric = { name, help, series: new Map() };
  metrics.push(metric);
  return (labels, by = 1) => {
    seriesOf(metric, labels).value += by;
  };
}

/** A histogram with these upper bounds; returns what a value is given to. */
export function histogram(name: string, help: string, bounds: readonly number[]) {
  const metric: Metric = { name, help, bounds, series: new Map() };
  metrics.push(metric);
  return (labels: Labels, value: number): void => {
    const series = seriesOf(metric, labels);
    series.value += value;
    series.count = (series.count ?? 0) + 1;
    series.buckets ??= bounds.map(() => 0);
    for (const [i, bound] of bounds.entries()) if (value <= bound) series.buckets[i] = (series.buckets[i] ?? 0) + 1;
  };
}

/** All metrics, as Prometheus reads them. */
export function metricsText(): string {
  return metrics.map((metric) => `${linesOf(metric).join("\n")}\n`).join("");
}

function linesOf({ name, help, bounds, series }: Metric): string[] {
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${bounds === undefined ? "counter" : "histogram"}`];
  for (const { labels, value, buckets = [], count = 0 } of series.values()) {
    if (bounds === undefined) {
      lines.push(`${name}${labelText(labels)} ${value}`);
      continue;
    }
    for (const [i, bound] of bounds.entries()) {
      lines.push(`${name}_bucket${labelText({ ...labels, le: String(bound) })} ${buckets[i] ?? 0}`);
    }
    lines.push(`${name}_bucket${labelText({ ...labels, le: "+Inf" })} ${count}`);
    lines.push(`${name}_sum${labelText(labels)} ${value}`, `${name}_count${labelText(labels)} ${count}`);
  }
  return lines;
}

function seriesOf(metric: Metric, labels: Labels): Series {
  const key = labelText(labels);
  let series = metric.series.get(key);
  if (series === undefined) metric.series.set(key, (series = { labels, value: 0 }));
  return series;
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

const escaped = (value: string) => value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

const turns = counter("griffin_turns_total", "Turns that ended, by how they ended and where their state came from.");
const tokens = counter(
  "griffin_tokens_total",
  "Tokens of turns: prompt, cached (of the prompt, not computed), computed, completion.",
);
const rows = counter("griffin_rows_written_total", "Rows that commits of turns wrote.");
const placements = counter("griffin_placements_total", "Turns with a reply, by where they ran.");
const originFailures = counter(
  "griffin_origin_failures_total",
  "Failures of an origin that turns saw, by their codes.",
);
const seconds = histogram(
  "griffin_turn_seconds",
  "From a turn's request to its end.",
  [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
);

/** Counts a turn that ended. */
export function countTurn({
  options,
  status,
  state,
  placement,
  usage,
  storage,
  createdMs,
  finishedMs,
}: TurnView): void {
  const { model } = options;
  turns({ model, status, state: state ?? "none" });
  if (finishedMs !== null) seconds({ model }, (finishedMs - createdMs) / 1000);
  if (placement !== null) placements({ model, placement });
  if (storage !== null) rows({ model }, storage.rowsWritten);
  if (usage === null) return;
  tokens({ model, kind: "prompt" }, usage.promptTokens);
  tokens({ model, kind: "cached" }, usage.cachedTokens);
  tokens({ model, kind: "computed" }, usage.computedTokens);
  tokens({ model, kind: "completion" }, usage.completionTokens);
}

/** Counts a failure of a model's origin. */
export const countOriginFailure = (model: string, code: string): void => originFailures({ model, code });
