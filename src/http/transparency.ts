// GET /transparency: what this server runs, what it keeps of what people say and for how long, in plain words. It says
// what the code does and how this server is set up; who runs it says OPERATOR.
import { Hono } from "hono";
import { html } from "hono/html";
import { moderates } from "../conversation/moderation.ts";
import { rememberedMs } from "../conversation/protocol.ts";
import { retentionMs } from "../conversation/retention.ts";
import { isOpen } from "./access.ts";
import type { AppEnv } from "./context.ts";

const hours = rememberedMs / 3_600_000;
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'";

export const transparency = new Hono<AppEnv>().get("/transparency", async (context) => {
  const { OPERATOR } = context.env;
  const checks = moderates(context.env);
  const days = retentionMs(context.env) / 86_400_000;
  const kept = Number.isFinite(days)
    ? `, or ${days} days after they were last used; a conversation may ask for less`
    : "";
  const looked = [checks.input && "messages", checks.output && "replies"].filter(Boolean).join(" and ");
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>What this server does with what you say</title>
        <link rel="icon" href="/icon.svg" type="image/svg+xml" />
        <link rel="stylesheet" href="/text.css" />
      </head>
      <body>
        <h1>What this server does with what you say</h1>
        <p>
          ${OPERATOR ? `It is run by ${OPERATOR}.` : "Who runs it has not said so here."} A language model answers, not
          a person.
        </p>

        <h2>The models</h2>
        <ul>
          ${context.var.modelIds().map((id) => html`<li>${id}</li>`)}
        </ul>
        <p>
          Models make things up, and repeat what they were trained on; nothing they say is advice.
          <a href="/card.txt">Pocket's card</a> says what the small model that comes with this software was trained on,
          what it can do and what it cannot.
        </p>

        <h2>What is kept</h2>
        <table>
          <thead>
            <tr>
              <th>what</th>
              <th>for how long</th>
            </tr>
          </thead>
          <tbody>
            <tr>
              <td>Responses and conversations: what was said, the model's state after each turn, your metadata</td>
              <td>until you delete them${kept}</td>
            </tr>
            <tr>
              <td>Chat completions: the same, so that a chat is not computed again from its beginning each time</td>
              <td>${hours} hours after it was last gone on with</td>
            </tr>
            <tr>
              <td>
                System texts that chats begin with, when they are long: the model's state behind them, which other chats
                under the same key begin with
              </td>
              <td>
                ${hours} hours after they were last used, or until a response, an item or a conversation is deleted that
                began with them
              </td>
            </tr>
            ${
              context.env.FILES === undefined
                ? ""
                : html`<tr>
                    <td>
                      Files: the requests of batches, and what they were answered; of a batch itself, when it ran and
                      how many lines it had
                    </td>
                    <td>
                      ${Number.isFinite(days) ? `${days} days, or until you delete them` : "until you delete them"}; a
                      file may be uploaded to be kept for less
                    </td>
                  </tr>`
            }
            <tr>
              <td>Raw completions, counted tokens, and responses with <code>store: false</code></td>
              <td>not at all</td>
            </tr>
            <tr>
              <td>Names of repeated requests (<code>Idempotency-Key</code>), as hashes</td>
              <td>${hours} hours</td>
            </tr>
            ${
              isOpen(context.env)
                ? ""
                : html`<tr>
                    <td>Of every API key: how many requests and tokens on which day; of its secret, a hash</td>
                    <td>until its tenant is deleted</td>
                  </tr>`
            }
            <tr>
              <td>
                Webhooks: which response or batch ended, how and when, and what the receiver answered; not a word of
                what was said
              </td>
              <td>30 days, or until the endpoint is deleted</td>
            </tr>
            <tr>
              <td>Posts to hooks: their ids, when they came, and which response they became; of GitHub's 90 days</td>
              <td>7 days, or until the hook is deleted</td>
            </tr>
            <tr>
              <td>What a post says, and a reply on its way to where its hook sends it</td>
              <td>until the turn is over; until it was delivered, or given up</td>
            </tr>
            <tr>
              <td>Logs: times, sizes, token counts, ids of requests; not a word of what was said</td>
              <td>as long as whoever runs this server keeps its logs</td>
            </tr>
          </tbody>
        </table>
        <p>
          A deleted conversation is deleted: texts, states and logs of it, at once. A deleted item of one is gone from
          it and from the forks that share it, with every state of a turn that had read it. The states of long system
          texts that other chats share go first; a chat that begins with the same texts later has them computed again.
          While a turn runs its state is in memory beside those of others; it is overwritten when the turn ends. Nothing
          said here trains a model.
        </p>

        <h2>Who looks at it</h2>
        <p>
          ${
            isOpen(context.env)
              ? "This server asks for no key: whoever knows the id of a conversation can read it. Ids cannot be guessed."
              : "What is said under one customer's keys can be reached with these alone."
          }
        </p>
        <p>
          ${
            looked === ""
              ? "No moderation is set up: no other service sees what is said."
              : `A moderation service sees ${looked} before anybody reads them, and may refuse them.`
          }
        </p>
      </body>
    </html>`;
  context.header("content-security-policy", policy);
  return context.html(page);
});
