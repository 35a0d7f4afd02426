// Follows a reply to its end, over lost connections: what was read is not read again, and nothing is said twice.
import { GriffinError } from "../errors.ts";
import { lost, resumeResponse, startResponse, type Request, type ResponseEvent, type ResponseObject } from "./api.ts";
import { Patience, type OnConnection } from "./patience.ts";

export type Progress =
  | { type: "created"; response: string }
  | { type: "text"; text: string }
  | { type: "ended"; response: ResponseObject };

const finalEvents = new Set(["response.completed", "response.incomplete", "response.cancelled", "response.failed"]);

/** Of the server, one after the other, until it is believed. */
const mostFaults = 5;

/**
 * Starts a reply, or goes on with a response that exists. Ends with "ended".
 * @throws GriffinError when the server refuses
 */
export async function* follow(
  source: { request: Request } | { response: string },
  signal: AbortSignal,
  onConnection: OnConnection,
): AsyncGenerator<Progress> {
  const patience = new Patience(signal, onConnection);
  let id: string | null = "response" in source ? source.response : null;
  let faults = 0;
  let after: number | null = null;
  for (;;) {
    try {
      const events: AsyncIterable<ResponseEvent> =
        id === null && "request" in source
          ? await startResponse(source.request, signal)
          : await resumeResponse(id ?? "", after, signal);
      patience.reached();
      for await (const event of events) {
        if (event.type === "error") {
          faults += 1;
          // The object of the conversation may have been restarted: the reply is being recovered.
          throw faults < mostFaults ? lost(event) : new GriffinError("internal", event.message ?? "The reply failed.");
        }
        if (after !== null && event.sequence_number <= after) continue;
        after = event.sequence_number;
        patience.heard();
        faults = 0;
        if (event.response && id === null) {
          id = event.response.id;
          yield { type: "created", response: id };
        }
        if (event.type === "response.output_text.delta" && event.delta) yield { type: "text", text: event.delta };
        if (event.response && finalEvents.has(event.type)) {
          yield { type: "ended", response: event.response };
          return;
        }
      }
      throw lost("the stream ended before the reply");
    } catch (error) {
      await patience.wait(error);
    }
  }
}
