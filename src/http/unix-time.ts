// Times on the wire: Unix time in whole seconds. Within, all times are milliseconds.

/** null where there is no such time. */
export const seconds = (ms: number | null): number | null => (ms === null ? null : Math.floor(ms / 1000));
