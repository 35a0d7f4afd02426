// Posts as services sign them: by the standard's own library, and with Node's crypto as GitHub's and Slack's documents say.
import { createHmac, randomUUID } from "node:crypto";
import { Webhook } from "standardwebhooks";

export interface SignedPost {
  headers: Record<string, string>;
  body: string;
}

const hex = (secret: string, text: string) => createHmac("sha256", secret).update(text).digest("hex");

export function standardPost(secret: string, payload: object, id = `msg_${randomUUID()}`, at = new Date()): SignedPost {
  const body = JSON.stringify(payload);
  const headers = {
    "content-type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": new Webhook(secret).sign(id, at, body),
  };
  return { headers, body };
}

export function githubPost(secret: string, payload: object, id: string = randomUUID()): SignedPost {
  const body = JSON.stringify(payload);
  const headers = {
    "content-type": "application/json",
    "x-github-event": "issue_comment",
    "x-github-delivery": id,
    "x-hub-signature-256": `sha256=${hex(secret, body)}`,
  };
  return { headers, body };
}

/** A form where `payload` has strings alone, else JSON. */
export function slackPost(secret: string, payload: Record<string, unknown>, at = new Date()): SignedPost {
  const isForm = Object.values(payload).every((value) => typeof value === "string") && !("challenge" in payload);
  const body = isForm ? new URLSearchParams(payload as Record<string, string>).toString() : JSON.stringify(payload);
  const timestamp = String(Math.floor(at.getTime() / 1000));
  const headers = {
    "content-type": isForm ? "application/x-www-form-urlencoded" : "application/json",
    "x-slack-request-timestamp": timestamp,
    "x-slack-signature": `v0=${hex(secret, `v0:${timestamp}:${body}`)}`,
  };
  return { headers, body };
}
