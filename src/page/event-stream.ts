// Server-sent events as `/v1/responses` writes them: JSON in `data:` lines, ended by an empty line or by `[DONE]`.
// The format is the HTML standard's, "9.2.6 Interpreting an event stream", less the fields this API does not send.

/** The data of each event, as text, however the bytes were cut. Ends with the stream or at `[DONE]`. */
export async function* readEvents(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  let isDone = false;
  for await (const chunk of chunks) {
    const text = rest + decoder.decode(chunk, { stream: true });
    // A carriage return at the end may be the first half of a line end.
    const held = text.endsWith("\r") ? "\r" : "";
    const lines = text.slice(0, text.length - held.length).split(/\r\n|\n|\r/);
    rest = (lines.pop() ?? "") + held;
    for (const line of lines) {
      const [, value] = /^data:? ?([^]*)$/.exec(line) ?? [];
      if (value !== undefined) data.push(value);
      if (line !== "" || data.length === 0) continue;
      const event = data.join("\n");
      data = [];
      // Read on to the end all the same: a body that is let go of before looks like a failure in the browser's tools.
      if (event === "[DONE]") isDone = true;
      if (!isDone) yield event;
    }
  }
}
