// Things that pocket can talk about, none of them a name.
export const smallTalk = [
  "What is 7 plus 5?",
  "Tell me a story about a fox.",
  "What is the capital of France?",
  "Count from 3 to 9.",
  "What is the opposite of hot?",
  "What is the plural of mouse?",
  "What does a cow say?",
  "Tell me a story about a robot.",
  "What is 12 minus 4?",
  "How are you?",
] as const;

/** The i-th thing to say, over and over. */
export const talk = (i: number): string => smallTalk[i % smallTalk.length]!;
