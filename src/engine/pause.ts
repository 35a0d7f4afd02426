// Between two steps other turns and requests of the isolate get to run. A resolved promise does not let them in:
// it takes a task. setImmediate costs microseconds where it exists; MessageChannel does where setTimeout is clamped.

/** Lets other work of this isolate run, then goes on. */
export const pause: () => Promise<void> = choosePause();

function choosePause(): () => Promise<void> {
  if (typeof globalThis.setImmediate === "function") return () => new Promise((resolve) => void setImmediate(resolve));
  // Browsers clamp timers to 4 ms, in pages and in their workers; workerd does not, and has no document location.
  if (typeof location === "undefined" || typeof MessageChannel === "undefined") {
    return () => new Promise((resolve) => void setTimeout(resolve, 0));
  }
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.addEventListener("message", () => waiting.shift()?.());
  port1.start();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      port2.postMessage(null);
    });
}
