// Four chats at once in one engine: they take turns token by token, so together they should be as fast as one.
import { named, shareOf } from "../figure.ts";
import type { Section } from "../report.ts";
import { interleave, type Contender } from "../rounds.ts";
import { drop, generateFrom, historyTokens, stateAfter } from "./drive.ts";
import { loadModel } from "./subject.ts";

const most = 4;
const sampleMs = 200;

export async function measureSharing(): Promise<Section[]> {
  const engine = await loadModel("30M", "int8", { slots: most });
  const state = await stateAfter(engine, historyTokens);
  const chatting = (name: string, chats: number): Contender => ({
    name,
    unit: "tokens/s",
    async measure() {
      const replies = Array.from({ length: chats }, () => generateFrom(engine, state));
      await Promise.all(replies.map((reply) => reply.next()));
      const startMs = performance.now();
      let tokens = 0;
      const talk = async (reply: (typeof replies)[number]) => {
        while (performance.now() - startMs < sampleMs) {
          await reply.next();
          tokens++;
        }
      };
      await Promise.all(replies.map(talk));
      const seconds = (performance.now() - startMs) / 1000;
      await Promise.all(replies.map(drop));
      return tokens / seconds;
    },
  });
  const figures = await interleave([chatting("one chat", 1), chatting("four chats together", most)]);
  const [one, four] = [named(figures, "one chat"), named(figures, "four chats together")];
  return [
    {
      title: "Chats in one isolate, 30 M parameters in int8",
      figures: [one, { ...four, shares: [shareOf(four, one, "of one")] }],
    },
  ];
}
