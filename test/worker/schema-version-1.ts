// A database as version 1 wrote it: a branch with a finished turn of 70 tokens, and one in progress with a log.
// It never changes: it is what is out there.

export const version1: readonly string[] = [
  `CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
  `CREATE TABLE branches (
      branch INTEGER PRIMARY KEY, parent_branch INTEGER, head INTEGER, created_ms INTEGER NOT NULL,
      metadata TEXT NOT NULL
    ) STRICT`,
  `CREATE TABLE turns (
      turn INTEGER PRIMARY KEY, parent INTEGER, branch INTEGER, status TEXT NOT NULL,
      created_ms INTEGER NOT NULL, finished_ms INTEGER, repeat_key TEXT, ends_with_client INTEGER NOT NULL,
      attempts INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0, checkpoint TEXT,
      end_position INTEGER, state_bytes INTEGER, rows_written INTEGER, bytes_written INTEGER,
      options TEXT NOT NULL, metadata TEXT NOT NULL,
      messages BLOB, reply BLOB, prompt_tokens BLOB, reply_tokens BLOB
    ) STRICT`,
  `CREATE INDEX turns_by_parent ON turns (parent)`,
  `CREATE INDEX turns_in_progress ON turns (branch) WHERE status = 'in_progress'`,
  `CREATE INDEX turns_by_repeat_key ON turns (repeat_key) WHERE repeat_key IS NOT NULL`,
  `CREATE TABLE log (
      turn INTEGER NOT NULL, part INTEGER NOT NULL, tokens BLOB NOT NULL, PRIMARY KEY (turn, part)
    ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE parts (
      turn INTEGER NOT NULL, kind TEXT NOT NULL, part INTEGER NOT NULL, bytes BLOB NOT NULL,
      PRIMARY KEY (turn, kind, part)
    ) STRICT, WITHOUT ROWID`,
  `CREATE TABLE snapshots (
      turn INTEGER PRIMARY KEY, checkpoint TEXT NOT NULL, graph TEXT NOT NULL, layout_bytes INTEGER NOT NULL,
      position INTEGER NOT NULL, pages BLOB NOT NULL, body_checksum INTEGER NOT NULL,
      checksum INTEGER NOT NULL
    ) STRICT`,
  `CREATE TABLE pages (page INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT`,
  `INSERT INTO meta (key, value)
    VALUES ('last_branch', -1)`,
  `INSERT INTO meta (key, value)
    VALUES ('last_turn', 0)`,
  `INSERT INTO meta (key, value)
    VALUES ('schema_version', 1)`,
  `INSERT INTO branches (branch, head, created_ms, metadata)
    VALUES (0, 1, 1, '{"a":"b"}')`,
  `INSERT INTO turns (turn, branch, status, created_ms, finished_ms, ends_with_client, attempts, removed,
      checkpoint, end_position, state_bytes, rows_written, bytes_written, options, metadata, messages, reply,
      prompt_tokens, reply_tokens)
    VALUES (1, 0, 'completed', 10, 20, 0, 0, 0,
      'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 70, 96, 5, 1112,
      '{"model":"pocket","maxTokens":10,"stop":[],"temperature":0,"topK":0,"topP":1,"minP":0,"frequencyPenalty":0,"presencePenalty":0,"repetitionPenalty":1,"logitBias":[],"seed":"0","topLogProbabilities":null}',
      '{}', x'5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2248692e227d5d',
      x'7b2274657874223a2248656c6c6f2e222c2266696e697368526561736f6e223a2273746f70222c227374617465223a22726573746f726564222c227573616765223a7b2270726f6d7074546f6b656e73223a312c22636163686564546f6b656e73223a302c22636f6d706c6574696f6e546f6b656e73223a312c22636f6d7075746564546f6b656e73223a327d2c226572726f72223a6e756c6c7d',
      x'd18ea9080500000006000000', x'a5e793bc07000000')`,
  `INSERT INTO turns (turn, parent, branch, status, created_ms, repeat_key, ends_with_client, attempts, removed,
      options, metadata, messages)
    VALUES (2, 1, 0, 'in_progress', 10, 'key', 0, 0, 0,
      '{"model":"pocket","maxTokens":10,"stop":[],"temperature":0,"topK":0,"topP":1,"minP":0,"frequencyPenalty":0,"presencePenalty":0,"repetitionPenalty":1,"logitBias":[],"seed":"0","topLogProbabilities":null}',
      '{}', x'5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2248692e227d5d')`,
  `INSERT INTO log (turn, part, tokens)
    VALUES (2, 0, x'7c1781030100000002000000')`,
  `INSERT INTO log (turn, part, tokens)
    VALUES (2, 1, x'f270f13303000000')`,
  `INSERT INTO parts (turn, kind, part, bytes)
    VALUES (1, 'snapshot', 0,
      x'446e50757c4289c50a748a4026b5faf0d5e5c019b7bb56802214b2b81bc705d1fd3a309380b1cc223d598163061843ad186e6466ddf0fadf55997965182384d24d9d777af1e5c3fe626872475f137563')`,
  `INSERT INTO snapshots (turn, checkpoint, graph, layout_bytes, position, pages, body_checksum, checksum)
    VALUES (1, 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
      '9999999999999999999999999999999999999999999999999999999999999999', 96, 70, x'01000000afa4dd98',
      219995763, 1320101466)`,
  `INSERT INTO pages (page, bytes)
    VALUES (1, x'${"00".repeat(248)}3eac9541b6effbc6${"00".repeat(248)}0bffe8e586502f3b')`,
];
