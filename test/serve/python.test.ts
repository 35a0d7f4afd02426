// Python environments: installed once, and again where that was interrupted.
import { existsSync, mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, it } from "vitest";
import { installPython } from "../../src/cli/serve/python.ts";
import { hasOrigin, skipNote } from "../origin/real-origin.ts";

const root = path.resolve(import.meta.dirname, "../..");
const folder = ".cache/python-test";
const environment = { folder: `${folder}/venv`, requirements: `${folder}/requirements.txt` };
const at = (file: string) => path.join(root, folder, file);
afterAll(() => rmSync(at(""), { recursive: true, force: true }));

it.skipIf(!hasOrigin)(
  `an environment that was not finished is begun anew, and one that was stays${skipNote}`,
  () => {
    mkdirSync(at("venv"), { recursive: true });
    writeFileSync(at("requirements.txt"), "");
    // What `python -m venv` writes first.
    writeFileSync(at("venv/pyvenv.cfg"), "");
    expect(installPython(environment)).toBe(true);
    expect(existsSync(at("venv/bin/python"))).toBe(true);
    const { mtimeMs } = statSync(at("venv/bin"));
    expect(installPython(environment)).toBe(true);
    expect(statSync(at("venv/bin")).mtimeMs).toBe(mtimeMs);
    writeFileSync(at("requirements.txt"), "no-such-package-of-these-tests @ file:///nowhere\n");
    const later = new Date(Date.now() + 60_000);
    utimesSync(at("requirements.txt"), later, later);
    expect(installPython(environment)).toBe(false);
    expect(existsSync(at("venv"))).toBe(false);
  },
  120_000,
);
