// Plan: an input file, read once from beginning to end before anything of it is run. It says which lines are requests and
// where they lie, a few of them together: a stretch is what one message of the queue asks for. Lines that are no requests
// are told here and never looked at again.
import { LineReader, requestOf, type Line } from "./lines.ts";
import { mostLines, type Endpoint, type Fault } from "./protocol.ts";

/** Results of a stretch are one row, and a run that breaks off begins the stretch again: few, but not one. */
const linesOfStretch = 8;
const stretchBytes = 2 ** 19;

/** Lines that follow each other, some of which are requests. */
export interface Stretch {
  firstLine: number;
  lineCount: number;
  offset: number;
  length: number;
}

export interface Malformed {
  line: number;
  customId: string | null;
  fault: Fault;
}

export interface Plan {
  total: number;
  stretches: Stretch[];
  malformed: Malformed[];
}

/** The plan of a file, or what is wrong with the whole of it. */
export async function planOf(pieces: AsyncIterable<Uint8Array>, endpoint: Endpoint): Promise<Plan | Fault> {
  const planner = new Planner(endpoint);
  const reader = new LineReader();
  for await (const piece of pieces) {
    for (const line of reader.push(piece)) if (!planner.add(line)) return tooMany;
  }
  for (const line of reader.end()) if (!planner.add(line)) return tooMany;
  const { plan } = planner;
  return plan.total === 0 ? whole("empty_file", "The input file has no lines.") : plan;
}

const whole = (code: string, message: string): Fault => ({ code, message, param: null, line: null });
const tooMany = whole("too_many_tasks", `A batch has at most ${mostLines} lines.`);

class Planner {
  readonly plan: Plan = { total: 0, stretches: [], malformed: [] };
  readonly #endpoint: Endpoint;
  /** custom_id → the number of its line in the file. */
  readonly #known = new Map<string, number>();
  /** Requests of the last stretch. */
  #requests = 0;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Takes the next line; false where it is one too many. */
  add(line: Line): boolean {
    const { plan } = this;
    const number = plan.total++;
    if (plan.total > mostLines) return false;
    const request = requestOf(line, this.#endpoint);
    const { customId } = request;
    const earlier = customId === null ? undefined : this.#known.get(customId);
    const fault = earlier === undefined ? request.fault : duplicate(earlier);
    if (customId !== null && earlier === undefined) this.#known.set(customId, line.number);
    if (fault === null) this.#stretch(line, number);
    else plan.malformed.push({ line: number, customId, fault: { ...fault, line: line.number } });
    return true;
  }

  #stretch({ offset, length }: Line, number: number): void {
    const { stretches } = this.plan;
    const last = stretches.at(-1);
    const isFull = this.#requests >= linesOfStretch || (last && offset + length - last.offset > stretchBytes);
    if (last === undefined || isFull) {
      stretches.push({ firstLine: number, lineCount: 1, offset, length });
      this.#requests = 1;
      return;
    }
    last.lineCount = number + 1 - last.firstLine;
    last.length = offset + length - last.offset;
    this.#requests++;
  }
}

const duplicate = (earlier: number) => ({
  code: "duplicate_custom_id",
  message: `This custom_id is that of line ${earlier}.`,
  param: "custom_id",
});

/** Stretches as they are stored: four numbers each. */
export const packStretches = (stretches: readonly Stretch[]): Float64Array =>
  Float64Array.from(
    stretches.flatMap(({ firstLine, lineCount, offset, length }) => [firstLine, lineCount, offset, length]),
  );

export function unpackStretches(packed: Float64Array): Stretch[] {
  return Array.from({ length: packed.length / 4 }, (_, stretch) => {
    const [firstLine = 0, lineCount = 0, offset = 0, length = 0] = packed.subarray(stretch * 4, stretch * 4 + 4);
    return { firstLine, lineCount, offset, length };
  });
}
