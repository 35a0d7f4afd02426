// Stop strings in a stream of text that comes in pieces: text is released as soon as no stop string can begin in it.

export interface StopMatcher {
  /** Text released by this piece, and the stop string that ends the reply, if it is complete. */
  push(piece: string): { text: string; stoppedBy?: string };
  /** The text still held back, when the reply ends for another reason. */
  end(): string;
}

/** Watches for the first of `stops` to be complete; where two end together, the one that begins earlier counts. */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  const longest = Math.max(0, ...stops.map((stop) => stop.length));
  let held = "";
  return {
    push(piece) {
      const text = held + piece;
      const complete = stops
        .map((stop) => ({ stop, begin: text.indexOf(stop) }))
        .filter(({ begin }) => begin >= 0)
        .sort((a, b) => a.begin + a.stop.length - (b.begin + b.stop.length) || a.begin - b.begin);
      const first = complete[0];
      if (first !== undefined) {
        held = "";
        return { text: text.slice(0, first.begin), stoppedBy: first.stop };
      }
      let release = Math.max(0, text.length - longest + 1);
      while (release < text.length && !stops.some((stop) => stop.startsWith(text.slice(release)))) release++;
      held = text.slice(release);
      return { text: text.slice(0, release) };
    },
    end() {
      const text = held;
      held = "";
      return text;
    },
  };
}
