// The worker of these tests: the class under test, and an object that does nothing, whose storage tests open.
export { Conversation } from "../../src/conversation/conversation.ts";

export class Bare {
  fetch(): Response {
    return new Response("tests only", { status: 404 });
  }
}

export default { fetch: () => new Response("tests only", { status: 404 }) };
