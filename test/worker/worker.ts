// The worker of these tests: the real one, and an object that does nothing, whose storage tests open.
export * from "../../src/worker.ts";
export { default } from "../../src/worker.ts";

export class Bare {
  fetch(): Response {
    return new Response("tests only", { status: 404 });
  }
}
