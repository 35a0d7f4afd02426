// What the environment of `npm start` and `npm run serve` says to the worker, which knows no environment: the variables
// and secrets that a deployment has. Both listen on 127.0.0.1 alone, so without an administrators' key they are open.

/** Variables and secrets of the worker; src/conversation/env.ts says what each is for. */
export const settings = [
  "ACCESS",
  "ADMIN_KEY",
  "KEY_SECRET",
  "MODERATION",
  "MODERATION_KEY",
  "OPERATOR",
  "RETENTION_DAYS",
] as const;

/** Those that are set, and whether keys are needed. Fails on a secret that no header can carry. */
export function settingsOf(environment: NodeJS.ProcessEnv): Record<string, string> {
  for (const name of ["ADMIN_KEY", "KEY_SECRET"]) {
    if (/[^\x21-\x7e]/.test(environment[name] ?? "")) {
      throw new Error(`${name} may have neither white space nor letters outside ASCII in it.`);
    }
  }
  const given = settings.flatMap((name) => (environment[name] ? [[name, environment[name]] as const] : []));
  return { ACCESS: environment["ADMIN_KEY"] ? "keys" : "open", ...Object.fromEntries(given) };
}

/** Says who may ask, where that is everybody. */
export const accessNote = (set: Record<string, string>): string =>
  set["ACCESS"] === "open"
    ? "Open to every program on this machine: no key is asked for. ADMIN_KEY=… asks for keys."
    : "";
