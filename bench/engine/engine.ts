// Whole models: how fast, where the time goes, what history, company and hosts change, and what fits.
import type { Section } from "../report.ts";
import { measureHistory } from "./history.ts";
import { measureHosts } from "./hosts.ts";
import { measureIsolate } from "./isolate.ts";
import { measureLarge } from "./large.ts";
import { measureOverhead } from "./overhead.ts";
import { measureRates } from "./rates.ts";
import { measureSharing } from "./sharing.ts";

export async function measureEngine(): Promise<Section[]> {
  const sections: Section[] = [];
  const all = [
    measureRates,
    measureOverhead,
    measureHistory,
    measureSharing,
    measureHosts,
    measureIsolate,
    measureLarge,
  ];
  for (const measure of all) {
    sections.push(...(await measure()));
  }
  return sections;
}
