// Failures that name the field of a request, or the option of a turn, that is to blame.
import { GriffinError } from "../errors.ts";

/** Runs a check; what it throws names the field of the request that is to blame. */
export function blamed(param: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof GriffinError)) throw error;
    throw new GriffinError(error.code, error.message, { cause: { param } });
  }
}
