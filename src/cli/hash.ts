// Node's SHA-256: native, where the portable one is JavaScript.
import { createHash } from "node:crypto";
import type { CreateHash } from "../checkpoint/hash.ts";

export const nodeHash: CreateHash = () => createHash("sha256");
