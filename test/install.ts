// What some tests need besides npm packages: two Python environments and Debian's chromium. All are installed once. Where
// that is impossible the tests that need them are skipped and this says so; on CI that is an error.
import { existsSync } from "node:fs";
import { installPython, originEnvironment, succeeds } from "../src/cli/serve/python.ts";

/** Tools of tests, such as Schemathesis, must not decide on versions of what an origin is deployed with, nor Ray on theirs. */
const environments = [{ folder: ".venv", requirements: "test/python/requirements.txt" }, originEnvironment];

function installChromium(): boolean {
  if (existsSync("/usr/bin/chromium")) return true;
  console.log("installing chromium …");
  return succeeds("apt-get", "update") && succeeds("apt-get", "install", "-y", "--no-install-recommends", "chromium");
}

const missing = environments
  .filter((environment) => !installPython(environment))
  .map(({ requirements }) => `the packages of ${requirements}`);
if (!installChromium()) missing.push("chromium");
for (const name of missing) console.log(`could not install: ${name}. The tests that need it will be skipped.`);
if (missing.length > 0 && process.env["CI"]) process.exit(1);
