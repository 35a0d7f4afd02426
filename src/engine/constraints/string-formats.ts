// JSON Schema's formats of strings that are held to, as patterns: each matches only what its RFC allows, not all of it.

const year = "[0-9]{4}";
// The 29th to 31st only where every year has them.
const day = "(0[1-9]|1[0-9]|2[0-8])";
const date = `${year}-((0[1-9]|1[0-2])-${day}|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)`;
const time = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
const label = "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?";
const byte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

/** Format → pattern of whole texts. RFC 3339, 5321, 1123, 2673, 4122, 3986. */
export const formatPatterns: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}T${time}`,
  duration: "P([0-9]{1,4}Y)?([0-9]{1,4}M)?[0-9]{1,4}D(T[0-9]{1,4}H([0-9]{1,4}M)?([0-9]{1,4}S)?)?",
  email: `[A-Za-z0-9_]([A-Za-z0-9_+-]|\\.[A-Za-z0-9_+-]){0,62}@(${label}\\.){1,4}[a-z]{2,12}`,
  hostname: `(${label}\\.){0,4}${label}`,
  ipv4: `(${byte}\\.){3}${byte}`,
  uuid: "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
  uri: `https?://(${label}\\.){1,4}[a-z]{2,12}(/[A-Za-z0-9._~-]{0,40}){0,8}`,
};
