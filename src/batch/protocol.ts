// What crosses between the HTTP layer, the objects of batches and the consumer of their queue: plain data only.

/** Where a line's request may go. */
export const endpoints = ["/v1/responses", "/v1/chat/completions", "/v1/completions"] as const;
export type Endpoint = (typeof endpoints)[number];

/** OpenAI's limits of an input file. */
export const mostFileBytes = 200 * 2 ** 20;
export const mostLines = 50_000;

/**
 * How long a line that failed in a way that may pass waits, after each failure. One more, or as many runs that died of it,
 * and it is given up.
 */
export const strikeWaitsMs: readonly number[] = [10_000, 60_000, 600_000];
export const mostStrikes = strikeWaitsMs.length + 1;

/** OpenAI's purposes, as far as there are such files here. */
export type Purpose = "batch" | "batch_output";

/** A file of a tenant. */
export interface FileView {
  id: string;
  /** In the bucket. */
  key: string;
  name: string;
  purpose: Purpose;
  bytes: number;
  createdMs: number;
  /** null: never. */
  expiresMs: number | null;
}

/** The last four are final. */
export type BatchStatus =
  | "validating"
  | "in_progress"
  | "finalizing"
  | "cancelling"
  | "completed"
  | "failed"
  | "expired"
  | "cancelled";

/** What is wrong with a line, or with a file; codes are OpenAI's where it has one. */
export interface Fault {
  code: string;
  message: string;
  param: string | null;
  /** Of the input file, from 1; null: the whole of it. */
  line: number | null;
}

export interface NewBatch {
  /** On the wire. */
  id: string;
  /** This object's, and the one's of its tenant's registry. */
  name: string;
  registry: string;
  /** "" where the server is open, and then there is no key. */
  tenant: string;
  /** Of the tenant, which made the batch: each line is let in as a request of it. */
  key: number | null;
  inputFile: string;
  /** Ids for the files that it writes, should it write them; once it is over, null for what it did not write. */
  outputFile: string | null;
  errorFile: string | null;
  /** What their keys in the bucket begin with. */
  folder: string;
  endpoint: Endpoint;
  metadata: Record<string, string>;
  /** Of the files it writes; null: they are kept as long as any. */
  outputExpiresAfterS: number | null;
  /** Who is told of its end: the endpoints of a registry that want to know, and an address of its own. */
  notify: { registry: string; url: string | null };
}

export interface Counts {
  total: number;
  completed: number;
  failed: number;
}

/** When a batch came to each status it was in. */
export type Times = Partial<Record<BatchStatus, number>>;

export interface BatchView {
  id: string;
  endpoint: Endpoint;
  inputFile: string;
  metadata: Record<string, string>;
  status: BatchStatus;
  createdMs: number;
  /** What is not done by then is not done. */
  expiresMs: number;
  times: Times;
  counts: Counts;
  faults: Fault[];
  outputFile: string | null;
  errorFile: string | null;
}

/** A message of the queue: run these lines. All else is asked of the batch, so that a message may come twice, or late. */
export interface BatchMessage {
  /** The object's name. */
  batch: string;
  stretch: number;
}

/** What is to be done of a stretch. */
export interface Work {
  id: string;
  inputKey: string;
  /** Of the bytes of the stretch in the input file. */
  offset: number;
  length: number;
  /** Number of its first line, from 0. */
  firstLine: number;
  /** Lines to run. */
  lines: number[];
  /** Lines that are not to be tried any more. */
  givenUp: number[];
  /** So many lines run side by side. */
  linesAtOnce: number;
  /** Something in it brought a run down: line after line, each told at once, so that it is found out which. */
  oneByOne: boolean;
  endpoint: Endpoint;
  tenant: string;
  key: number | null;
}

/** Files that a result goes to: of answers, or of failures. */
export type ResultKind = "output" | "errors";

export interface LineResult {
  line: number;
  kind: ResultKind;
  /** A line of the file, with the line break. */
  text: string;
}

/** What a consumer tells of a stretch. */
export interface Report {
  results: LineResult[];
  /** They failed in a way that may pass: to be kept only when they are given up. */
  failed: LineResult[];
  /** A limit is reached: nothing of the batch runs for so long. */
  pauseMs: number | null;
  /** Nothing of the stretch runs any more. */
  isLast: boolean;
}
