#!/usr/bin/env node
// The `griffin` command. Each subcommand is a file; this one knows their options and turns errors into one line.
import { Command, InvalidArgumentError, Option } from "commander";
import { formats } from "../model/weights.ts";
import { GriffinError } from "../errors.ts";
import {
  createKey,
  createTenant,
  deleteTenant,
  listKeys,
  listTenants,
  printUsage,
  revokeKey,
  rotateKey,
  updateTenant,
} from "./administration.ts";
import { batchResults, batchStatus, cancelBatch, submitBatch } from "./batch.ts";
import { convertFolder } from "./convert.ts";
import { systemError } from "./files.ts";
import { createHook, deleteHook, listHookDeliveries, listHooks, rotateHook, updateHook } from "./hooks.ts";
import { inspect } from "./inspect.ts";
import { writeLogits } from "./logits.ts";
import { printPlan } from "./plan.ts";
import { run } from "./run.ts";
import {
  createWebhook,
  deleteWebhook,
  listDeliveries,
  listWebhooks,
  replayWebhook,
  rotateWebhook,
  testWebhook,
  updateWebhook,
} from "./webhooks.ts";

/** package.json's, put here by the build. */
declare const GRIFFIN_VERSION: string;

const integer = (least: number) => (text: string) => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least)
    throw new InvalidArgumentError(`It must be an integer of at least ${least}.`);
  return value;
};

const real = (text: string) => {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
};

const seed = (text: string) => {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be an integer of at least 0.");
  return BigInt(text);
};

const address = (text: string) => {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw new InvalidArgumentError("It must be an address such as http://127.0.0.1:8790.");
  return text;
};

const megabytes = (text: string) => integer(1)(text) * 1_000_000;

const program = new Command("griffin")
  .description("RecurrentGemma (Griffin) on the command line.")
  .version(GRIFFIN_VERSION)
  .showHelpAfterError("(griffin --help says more)");

program
  .command("convert")
  .description("turn a Hugging Face recurrent_gemma folder into a checkpoint folder")
  .argument("<src>", "folder with config.json and safetensors, in one file or sharded")
  .argument("<out>", "folder to write; may be the same")
  .addOption(
    new Option("--quantize <format>", "what matrices are stored in; as in the source unless given").choices([
      ...formats,
    ]),
  )
  .option("--quiet", "no progress bar")
  .action(convertFolder);

program
  .command("inspect")
  .description("print what a checkpoint holds")
  .argument("<dir>", "checkpoint folder")
  .option("--json", "as JSON")
  .action(inspect);

program
  .command("plan")
  .description("print the kernel calls of one pass, with shapes and addresses")
  .argument("<dir>", "checkpoint folder")
  .option("--tokens <n>", "tokens the pass reads", integer(1), 1)
  .addOption(
    new Option("--logits <rows>", "rows of logits it computes").choices(["none", "last", "all"]).default("last"),
  )
  .option("--json", "as JSON")
  .action(printPlan);

program
  .command("run")
  .description("reply to a prompt, or chat, on the terminal")
  .argument("<dir>", "checkpoint folder")
  .option("--prompt <text>", "reply to this and exit")
  .option("--chat", "read messages from the terminal, one a line, until end of input")
  .option("--raw", "continue the prompt as plain text, without the chat template")
  .option("--system <text>", "instructions put in front of the first message")
  .option("--max-tokens <n>", "most tokens of a reply", integer(0), 1024)
  .option("--temperature <t>", "0 always takes the likeliest token", real, 0)
  .option("--top-k <n>", "sample from the n likeliest tokens; 0 from all", integer(0))
  .option("--top-p <p>", "sample from the likeliest tokens that together have probability p", real)
  .option("--min-p <p>", "drop tokens less likely than p times the likeliest", real)
  .option("--frequency-penalty <x>", "lower a token by x for each time it was said", real)
  .option("--presence-penalty <x>", "lower a token by x once it was said", real)
  .option("--repetition-penalty <x>", "divide the logits of tokens in the last window by x", real)
  .option("--seed <n>", "the same seed gives the same reply", seed)
  .option("--stop <text...>", "end the reply before this text")
  .option("--memory <megabytes>", "refuse models that need more memory", megabytes)
  .option(
    "--threads <n>",
    "threads that share the work; as many as there are cores, 4 at most, unless told",
    integer(1),
  )
  .option("--stats", "print tokens and speed after each reply")
  .action(run);

program
  .command("logits")
  .description("write the logits of every position of a token sequence")
  .argument("<dir>", "checkpoint folder")
  .requiredOption("--tokens <file>", "JSON file with an array of token ids")
  .requiredOption("--out <file>", "safetensors file to write: logits [T, V]")
  .addOption(
    new Option("--engine <name>", "our kernels, onnxruntime-web on the same graph, or an origin of the same checkpoint")
      .choices(["wasm", "onnx", "origin"])
      .default("wasm"),
  )
  .option("--url <url>", "the origin; its key is read from GRIFFIN_ORIGIN_KEY", address)
  .option("--chunk <n>", "tokens read in one pass", integer(1))
  .option("--states", "write the state after the last token too, as state.{T}.layers.{i}.…")
  .option("--memory <megabytes>", "refuse models that need more memory", megabytes)
  .option(
    "--threads <n>",
    "threads that share the work; as many as there are cores, 4 at most, unless told",
    integer(1),
  )
  .action(writeLogits);

/** A subcommand about a server. */
const remote = (parent: Command, name: string, description: string) =>
  parent
    .command(name)
    .description(description)
    .option("--url <url>", "the server", "http://127.0.0.1:8787")
    .option("--json", "as JSON");

const limited = (command: Command) =>
  command
    .option("--requests <n>", "requests a minute", integer(1))
    .option("--tokens <n>", "tokens a minute that run through the model", integer(1))
    .option("--concurrency <n>", "replies in the making at once", integer(1));

const withAdminKey = "\nThe administrators' key is read from GRIFFIN_ADMIN_KEY.";

const tenants = program.command("tenants").description("customers of a server").addHelpText("after", withAdminKey);
limited(remote(tenants, "create", "make a tenant").argument("<name>")).action(createTenant);
remote(tenants, "list", "list all").action(listTenants);
limited(remote(tenants, "limit", "change a tenant's limits").argument("<tenant>")).action(updateTenant);
remote(tenants, "delete", "delete a tenant and its keys; nobody can reach its conversations any more")
  .argument("<tenant>")
  .action(deleteTenant);

const keys = program.command("keys").description("API keys of a tenant").addHelpText("after", withAdminKey);
limited(remote(keys, "create", "make a key and print its secret, once").argument("<tenant>").argument("<name>"))
  .addOption(new Option("--scopes <scopes...>", "what it may do").choices(["read", "write"]))
  .option("--days <n>", "expires after so many", integer(1))
  .action(createKey);
remote(keys, "list", "list a tenant's keys").argument("<tenant>").action(listKeys);
remote(keys, "rotate", "print a new secret for a key, once")
  .argument("<tenant>")
  .argument("<key>")
  .option("--grace <seconds>", "so long the old secret stays good", integer(0), 86_400)
  .action(rotateKey);
remote(keys, "revoke", "let a key open nothing from now on").argument("<tenant>").argument("<key>").action(revokeKey);
remote(keys, "usage", "what a tenant's keys used, day by day")
  .argument("<tenant>")
  .option("--from <day>", "such as 2026-11-01; the first of this month unless told")
  .option("--to <day>", "today unless told")
  .action(printUsage);

const withApiKey = "\nThe key of the server's API is read from GRIFFIN_API_KEY; an open server needs none.";

/** A time as Unix seconds. */
const time = (text: string) => {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new InvalidArgumentError("It must be a time such as 2026-11-26T12:00Z.");
  return Math.floor(ms / 1000);
};

const webhooks = program
  .command("webhooks")
  .description("where a server tells of responses and batches that end")
  .addHelpText("after", withApiKey);
remote(webhooks, "create", "make an endpoint and print its secret, once")
  .argument("<address>", "https URL that is sent a POST for each event")
  .option("--name <name>", "what to call it; its host unless told")
  .option("--events <types...>", "such as response.completed; all unless told")
  .action(createWebhook);
remote(webhooks, "list", "list endpoints").action(listWebhooks);
remote(webhooks, "update", "change an endpoint")
  .argument("<id>")
  .option("--name <name>")
  .option("--to <address>", "another address")
  .option("--events <types...>")
  .addOption(new Option("--enable", "tell it of events again").conflicts("disable"))
  .option("--disable", "tell it of nothing")
  .action(updateWebhook);
remote(webhooks, "rotate", "print a new secret for an endpoint, once")
  .argument("<id>")
  .option("--grace <seconds>", "so long the old secret signs as well", integer(0), 86_400)
  .action(rotateWebhook);
remote(webhooks, "test", "send an event that never was, and print the answer")
  .argument("<id>")
  .option("--event <type>", "response.completed unless told")
  .action(testWebhook);
remote(webhooks, "deliveries", "print what an endpoint was told, with the answer to every attempt")
  .argument("<id>")
  .addOption(new Option("--status <status>", "only those").choices(["pending", "delivered", "failed"]))
  .action(listDeliveries);
remote(webhooks, "replay", "tell an event anew, or all of a time, or --all")
  .argument("<id>")
  .argument("[event]")
  .option("--from <time>", "such as 2026-11-26T12:00Z", time)
  .option("--to <time>", "now unless told", time)
  .option("--all", "all that are in the log")
  .addOption(new Option("--status <status>", "of those, only these").choices(["delivered", "failed"]))
  .action(replayWebhook);
remote(webhooks, "delete", "delete an endpoint and its log").argument("<id>").action(deleteWebhook);

const hookSecrets = `The secret that signs posts is read from GRIFFIN_HOOK_SECRET: Slack's signing secret; for GitHub one of 16 to 256
characters that you choose. Without it one is made for GitHub. Of standard hooks one is made unless it begins with whsec_.`;
const hooks = program
  .command("hooks")
  .description("addresses of a server that turn signed posts of other services into turns")
  .addHelpText("after", `${withApiKey}\n${hookSecrets}`);
const described = (command: Command) =>
  command
    .option("--key <template>", "posts with the same key go on with one conversation; all do where there is none")
    .option("--name <name>")
    .option("--model <id>")
    .option("--instructions <text>", "new conversations begin with them")
    .option("--max-tokens <n>", "of a reply", integer(1))
    .addOption(new Option("--callback <address>", "send replies there").conflicts("toSlack"))
    .option("--to-slack", "send replies to the response_url that Slack gives");
const input = "what the model is told, such as '{{ comment.body }}'";
described(
  remote(hooks, "create", "make a hook; print the secrets that are made for it, once")
    .addOption(
      new Option("--from <service>", "who signs the posts")
        .choices(["standard", "github", "slack"])
        .default("standard"),
    )
    .requiredOption("--input <template>", input),
).action(createHook);
described(
  remote(hooks, "update", "change a hook; '' takes its key or its instructions away")
    .argument("<id>")
    .option("--input <template>", input),
)
  .addOption(new Option("--no-reply", "send replies nowhere").conflicts(["callback", "toSlack"]))
  .action(updateHook);
remote(hooks, "list", "list hooks").action(listHooks);
remote(hooks, "rotate", "print a new secret for a hook, once")
  .argument("<id>")
  .option("--signing", "the one that signs replies")
  .option("--grace <seconds>", "so long the old secret is good as well", integer(0), 86_400)
  .action(rotateHook);
remote(hooks, "deliveries", "print what was posted to a hook, and what became of it")
  .argument("<id>")
  .addOption(
    new Option("--status <status>", "only those").choices(["queued", "in_progress", "completed", "failed", "ignored"]),
  )
  .action(listHookDeliveries);
remote(hooks, "delete", "delete a hook and its log; its conversations stay").argument("<id>").action(deleteHook);

const batchStatuses =
  "The exit status of status, results and --watch is 1 where the batch failed, expired or was cancelled, or all of its lines failed.";
const batch = program
  .command("batch")
  .description("many requests from a file, run by a server")
  .addHelpText("after", `${withApiKey}\n${batchStatuses}`);
remote(batch, "submit", "upload a file of requests, one a line, and have them run; print the batch's id")
  .argument("<file>", '{"custom_id", "method": "POST", "url", "body"} on each line')
  .addOption(
    new Option("--endpoint <path>", "where the requests go")
      .choices(["/v1/chat/completions", "/v1/responses", "/v1/completions"])
      .default("/v1/chat/completions"),
  )
  .option("--watch", "show how far it is until it is over")
  .action(submitBatch);
remote(batch, "status", "print how far a batch is")
  .argument("<batch>")
  .option("--watch", "show it until the batch is over")
  .action(batchStatus);
remote(batch, "cancel", "have no more lines begin; those that run end, and what was answered stays")
  .argument("<batch>")
  .action(cancelBatch);
remote(batch, "results", "write answers and errors, one a line in no order")
  .argument("<batch>")
  .option("-o, --out <file>", "write them there instead of to standard output")
  .action(batchResults);

/** A reader that went away, as `head` does, has what it wanted: that is a normal end. */
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  console.error(`griffin: ${(systemError("write to standard output", error) ?? error).message}`);
  process.exit(1);
});

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof GriffinError)) throw error;
  console.error(`griffin: ${error.message}`);
  process.exitCode = 1;
}
