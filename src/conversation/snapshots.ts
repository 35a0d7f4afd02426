// Snapshots: a state as rows, and back, bit for bit. A snapshot is its own copy of the recurrent part and of the
// unfinished page, and references to full pages that it shares with its neighbours in the tree.
// Checksums lead from the row to its bytes: the row has its own, and names those of its body and of each page.
// What does not match is never given out.
import { checkState, emptyState, type State, type StateLayout } from "../model/state.ts";
import { crc32 } from "./checksum.ts";
import type { Database } from "./database.ts";
import { cutAt, pagePositions, pagingOf, readBlock, writeBlock } from "./pages.ts";
import { readParts, writeParts } from "./parts.ts";

/** Snapshots an object keeps. Heads of branches, and states that were imported, are kept beyond that. */
export const snapshotLimit = 32;

/** What a state belongs to. It is never given to another model. */
export interface ModelIdentity {
  /** SHA-256 of the weights. */
  checkpoint: string;
  /** SHA-256 of graph.onnx. */
  graph: string;
  layout: StateLayout;
}

/** Damaged ones are forgotten on the spot, so a second look finds nothing. */
export type StoredState = State | "none" | "other_model" | "corrupt";

interface PageReference {
  page: number;
  checksum: number;
}

interface Header {
  checkpoint: string;
  graph: string;
  layoutBytes: number;
  position: number;
  pages: PageReference[];
  bodyChecksum: number;
}

/** Writes a turn's snapshot. Pages that the snapshot of `base` has are shared, the others written. */
export function saveSnapshot(
  db: Database,
  turn: number,
  state: State,
  identity: ModelIdentity,
  base: number | null,
): void {
  checkState(identity.layout, state);
  const cut = pagingOf(identity.layout);
  const { pages, tail } = cutAt(cut, state.position);
  const shared = base === null ? new Map<number, PageReference>() : pagesOf(db, base, identity, state.position);
  const references: PageReference[] = [];
  for (let page = pages.from; page < pages.to; page++) {
    references.push(shared.get(page) ?? writePage(db, turn, readBlock(cut, state, pagePositions(cut, page))));
  }

  const recurrent = cut.recurrent.map(({ offsetBytes, lengthBytes }) =>
    state.data.subarray(offsetBytes, offsetBytes + lengthBytes),
  );
  const body = joined([...recurrent, readBlock(cut, state, tail)]);
  writeParts(db, turn, "snapshot", body);
  writeHeader(db, turn, {
    checkpoint: identity.checkpoint,
    graph: identity.graph,
    layoutBytes: identity.layout.totalBytes,
    position: state.position,
    pages: references,
    bodyChecksum: crc32(body),
  });
}

/** The state a turn's snapshot holds, equal bit for bit to the one saved, or why there is none. */
export function readSnapshot(db: Database, turn: number, identity: ModelIdentity): StoredState {
  const header = readHeader(db, turn);
  if (header === "none") return "none";
  if (header === "corrupt") return forget(db, [turn]);
  if (!isOf(header, identity)) return "other_model";

  const cut = pagingOf(identity.layout);
  const { pages, tail } = cutAt(cut, header.position);
  const state = { ...emptyState(identity.layout), position: header.position };
  const body = readParts(db, turn, "snapshot");
  const recurrentBytes = cut.recurrent.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const expectedBytes = recurrentBytes + (tail.to - tail.from) * cut.positionBytes;
  const fits = body.byteLength === expectedBytes && header.pages.length === pages.to - pages.from;
  if (!fits || crc32(body) !== header.bodyChecksum) return forget(db, [turn]);

  let offset = 0;
  for (const { offsetBytes, lengthBytes } of cut.recurrent) {
    state.data.set(body.subarray(offset, offset + lengthBytes), offsetBytes);
    offset += lengthBytes;
  }
  writeBlock(cut, state, tail, body.subarray(offset));
  for (const [i, { page, checksum }] of header.pages.entries()) {
    const block = readPage(db, page);
    const intact = block?.byteLength === cut.pageTokens * cut.positionBytes && crc32(block) === checksum;
    // Whoever shares the page is damaged too, and would pass it on.
    if (!intact) return forget(db, turnsWithPage(db, page));
    writeBlock(cut, state, pagePositions(cut, pages.from + i), block);
  }
  return state;
}

/** Those that can be computed again when they are gone. */
const droppable = `turn NOT IN (SELECT head FROM branches WHERE head IS NOT NULL)
  AND turn NOT IN (SELECT turn FROM turns WHERE kind = 'state')`;

/** Deletes snapshots beyond the limit, those first whose last use, a turn that goes on from them, is longest ago. */
export function dropOldSnapshots(db: Database, newest: number): void {
  const dropped = db.read<{ turn: number }>(
    `SELECT turn FROM snapshots AS kept
     WHERE turn <> ? AND ${droppable}
     ORDER BY max(turn, coalesce((SELECT max(turns.turn) FROM turns WHERE turns.parent = kept.turn), 0))
     LIMIT max(0, (SELECT count(*) FROM snapshots WHERE ${droppable}) - ?)`,
    newest,
    snapshotLimit,
  );
  if (dropped.length > 0)
    deleteSnapshots(
      db,
      dropped.map(({ turn }) => turn),
    );
}

/** Deletes the snapshots of turns, and every page that none of the others refers to. */
export function deleteSnapshots(db: Database, turns: readonly number[]): void {
  for (const turn of turns) {
    db.write(`the snapshot of turn ${turn}`, "DELETE FROM parts WHERE turn = ? AND kind = 'snapshot'", turn);
    db.write(`the snapshot of turn ${turn}`, "DELETE FROM snapshots WHERE turn = ?", turn);
  }
  const used = new Set(allReferences(db).flatMap(({ pages }) => pages.map(({ page }) => page)));
  for (const { page } of db.read<{ page: number }>("SELECT page FROM pages")) {
    if (!used.has(page)) db.write(`page ${page}`, "DELETE FROM pages WHERE page = ?", page);
  }
}

/** How many snapshots and pages there are, and how many references of the ones to the others. */
export function countSnapshots(db: Database): { snapshots: number; pages: number; pageReferences: number } {
  const references = allReferences(db);
  const [row] = db.read<{ pages: number }>("SELECT count(*) AS pages FROM pages");
  return {
    snapshots: references.length,
    pages: row?.pages ?? 0,
    pageReferences: references.reduce((sum, { pages }) => sum + pages.length, 0),
  };
}

/** Page number → reference, of the full pages a turn's snapshot has and a state of the same line may share. */
function pagesOf(db: Database, turn: number, identity: ModelIdentity, position: number): Map<number, PageReference> {
  const header = readHeader(db, turn);
  if (typeof header === "string" || !isOf(header, identity) || header.position > position) return new Map();
  const { pages } = cutAt(pagingOf(identity.layout), header.position);
  return new Map(header.pages.map((reference, i) => [pages.from + i, reference]));
}

function isOf(header: Header, { checkpoint, graph, layout }: ModelIdentity): boolean {
  return header.checkpoint === checkpoint && header.graph === graph && header.layoutBytes === layout.totalBytes;
}

function forget(db: Database, turns: readonly number[]): "corrupt" {
  db.transaction(() => deleteSnapshots(db, turns));
  return "corrupt";
}

function turnsWithPage(db: Database, page: number): number[] {
  return allReferences(db)
    .filter(({ pages }) => pages.some((reference) => reference.page === page))
    .map(({ turn }) => turn);
}

function allReferences(db: Database): { turn: number; pages: PageReference[] }[] {
  return db
    .read<{ turn: number; pages: ArrayBuffer }>("SELECT turn, pages FROM snapshots")
    .map(({ turn, pages }) => ({ turn, pages: unpackReferences(pages) }));
}

function writePage(db: Database, turn: number, block: Uint8Array): PageReference {
  const row = `a page of turn ${turn}`;
  const [written] = db.write<{ page: number }>(row, "INSERT INTO pages (bytes) VALUES (?) RETURNING page", block);
  return { page: written?.page ?? 0, checksum: crc32(block) };
}

function readPage(db: Database, page: number): Uint8Array | undefined {
  const [row] = db.read<{ bytes: ArrayBuffer }>("SELECT bytes FROM pages WHERE page = ?", page);
  return row && new Uint8Array(row.bytes);
}

function writeHeader(db: Database, turn: number, header: Header): void {
  db.write(
    `the snapshot of turn ${turn}`,
    `INSERT INTO snapshots (turn, checkpoint, graph, layout_bytes, position, pages, body_checksum, checksum)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    turn,
    header.checkpoint,
    header.graph,
    header.layoutBytes,
    header.position,
    packReferences(header.pages),
    header.bodyChecksum,
    headerChecksum(turn, header),
  );
}

function readHeader(db: Database, turn: number): Header | "none" | "corrupt" {
  const [row] = db.read<{
    checkpoint: string;
    graph: string;
    layout_bytes: number;
    position: number;
    pages: ArrayBuffer;
    body_checksum: number;
    checksum: number;
  }>(
    `SELECT checkpoint, graph, layout_bytes, position, pages, body_checksum, checksum FROM snapshots WHERE turn = ?`,
    turn,
  );
  if (row === undefined) return "none";
  const header = {
    checkpoint: row.checkpoint,
    graph: row.graph,
    layoutBytes: row.layout_bytes,
    position: row.position,
    pages: unpackReferences(row.pages),
    bodyChecksum: row.body_checksum,
  };
  return headerChecksum(turn, header) === row.checksum ? header : "corrupt";
}

function headerChecksum(turn: number, header: Header): number {
  return crc32(new TextEncoder().encode(JSON.stringify([turn, header])));
}

function packReferences(references: readonly PageReference[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * references.length));
  references.forEach(({ page, checksum }, i) => {
    view.setUint32(8 * i, page, true);
    view.setUint32(8 * i + 4, checksum, true);
  });
  return new Uint8Array(view.buffer);
}

/** Of damaged bytes, some references; the row's checksum tells. */
function unpackReferences(bytes: ArrayBuffer): PageReference[] {
  const view = new DataView(bytes);
  return Array.from({ length: Math.floor(bytes.byteLength / 8) }, (_, i) => ({
    page: view.getUint32(8 * i, true),
    checksum: view.getUint32(8 * i + 4, true),
  }));
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.byteLength;
  }
  return bytes;
}
