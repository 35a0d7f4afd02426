// Where the time of a token goes: the engine's against that of its kernels alone. They run on a copy of the engine's memory,
// step by step of its own plan: in their turn with a clock around each, where they find the caches as in decoding; and
// each again and again, where its weights stay in a near cache.
import type { Instance } from "../../src/engine/instance.ts";
import { instantiateKernels, type Kernels } from "../../src/engine/kernels.ts";
import { reserve } from "../../src/engine/memory.ts";
import type { PlanStep } from "../../src/engine/plan.ts";
import type { Format } from "../../src/model/weights.ts";
import { named, shareOf, type Figure } from "../figure.ts";
import { kernelModule } from "../module.ts";
import type { Section } from "../report.ts";
import { interleave, secondsOf, type Contender } from "../rounds.ts";
import { drop, generateFrom, historyTokens, stateAfter } from "./drive.ts";
import { loadModel } from "./subject.ts";

const measured: readonly Format[] = ["int8", "int4"];
const tokensOfSample = 60;
/** How long a step is repeated by itself. */
const stepMs = 1;
/** More than a row of any value. */
const spareBytes = 2 ** 20;

const decodeName = "a token of the engine";
const inTurnName = "its kernels, each in its turn";
const aloneName = "its kernels, each repeated by itself";

export async function measureOverhead(): Promise<Section[]> {
  const sections: Section[] = [];
  for (const format of measured) sections.push(await overheadOf(format));
  return sections;
}

async function overheadOf(format: Format): Promise<Section> {
  const engine = await loadModel("30M", format);
  const state = await stateAfter(engine, historyTokens);
  const pass = await replica(engine.instance);
  const names = [...new Set(pass.steps.map(({ kernel }) => kernel))].toSorted();
  const contenders: Contender[] = [
    {
      name: decodeName,
      unit: "µs",
      async measure() {
        const reply = generateFrom(engine, state);
        await reply.next();
        const startMs = performance.now();
        for (let token = 0; token < tokensOfSample; token++) await reply.next();
        const microseconds = ((performance.now() - startMs) / tokensOfSample) * 1000;
        await drop(reply);
        return microseconds;
      },
    },
    { name: inTurnName, unit: "µs", measure: () => timeOf(names, pass) * 1e6 },
    {
      name: aloneName,
      unit: "µs",
      measure() {
        pass.prepare();
        let seconds = 0;
        for (const { repeat, call } of pass.steps) {
          seconds += secondsOf(repeat, stepMs);
          call();
        }
        return seconds * 1e6;
      },
    },
    ...names.map((name) => ({ name, unit: "µs", measure: () => timeOf([name], pass) * 1e6 })),
  ];
  const figures = await interleave(contenders);
  const [decoded, inTurn] = [named(figures, decodeName), named(figures, inTurnName)];
  const compared = figures.map((figure): Figure => {
    if (figure === decoded) {
      const alone = named(figures, aloneName);
      return {
        ...figure,
        shares: [shareOf(figure, inTurn, "× its kernels in turn"), shareOf(figure, alone, "× its kernels repeated")],
      };
    }
    return figure === inTurn ? figure : { ...figure, shares: [shareOf(figure, inTurn, "of all in turn")] };
  });
  return { title: `A token of the 30 M model in ${format}, kernel by kernel`, figures: compared };
}

/** A pass over one token that can be run step by step. */
interface Pass {
  /** Writes the token and its position, whose places other values take in the course of a pass. */
  prepare(): void;
  steps: readonly Step[];
}

interface Step {
  kernel: string;
  call(): void;
  /** The same without spoiling its own operands: values written over again and again end as subnormals, which are slow. */
  repeat(): void;
}

/** The pass of an instance, on a copy of its memory. */
async function replica(instance: Instance): Promise<Pass> {
  const { totalBytes, slots } = instance.layout;
  const kernels = await instantiateKernels(await kernelModule());
  reserve(kernels.memory, totalBytes + spareBytes);
  new Uint8Array(kernels.memory.buffer).set(instance.bytes(0, totalBytes));
  const { steps, tokensPtr, posPtr } = instance.plan(1, "last");
  const words = new Int32Array(kernels.memory.buffer);
  return {
    prepare() {
      words[tokensPtr / 4] = 5;
      words[posPtr / 4] = historyTokens;
    },
    steps: steps.map((step) => stepOf(kernels, step, slots[0] ?? 0, totalBytes)),
  };
}

function stepOf(kernels: Kernels, { kernel, args, slotArgs }: PlanStep, slotPtr: number, sparePtr: number): Step {
  const placed = args.map((arg, i) => (slotArgs.includes(i) ? arg + slotPtr : arg));
  const [yPtr = 0, ...others] = placed;
  const apart = [others.includes(yPtr) ? sparePtr : yPtr, ...others];
  const compute = kernels[kernel];
  return { kernel, call: () => compute(...placed), repeat: () => compute(...apart) };
}

/** Seconds a token for the kernels of these names, the others running between them. */
function timeOf(names: readonly string[], { prepare, steps }: Pass): number {
  let elapsedMs = 0;
  for (let token = 0; token < tokensOfSample; token++) {
    prepare();
    for (const { kernel, call } of steps) {
      if (!names.includes(kernel)) {
        call();
        continue;
      }
      const startMs = performance.now();
      call();
      elapsedMs += performance.now() - startMs;
    }
  }
  return elapsedMs / 1000 / tokensOfSample;
}
