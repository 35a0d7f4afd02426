// Which addresses webhooks may be sent to: https on the public internet, in whatever way it is spelled. The URL parser
// has already made one spelling of decimal, octal, hexadecimal and full-width hosts; what a name resolves to is seen only
// by who connects, and there the runtime refuses what is not public.
import ipaddr from "ipaddr.js";

const mostCharacters = 2_048;
/** Below, only https' own: other services listen there. */
const leastFreePort = 1_024;

/** Names that mean this machine or this network, with all names below them. RFC 6761, 6762, 7686, 8375, 9476 and habit. */
const insideNames = names(`
  localhost localdomain local internal intranet private corp home lan home.arpa
  test invalid example onion alt in-addr.arpa ip6.arpa
`);

/** Public names that resolve to whatever address they spell, or to this machine. */
const resolverNames = names(`
  nip.io sslip.io xip.io ip6.name backname.io traefik.me local.gd 1u.ms rbndr.us
  localtest.me lvh.me vcap.me fuf.me lacolhost.com localho.st yoogle.com rebind.network
`);

/** Public by its number, but the host's own service in Azure. */
const hostServices = new Set(["168.63.129.16"]);
/** What is allocated for the internet; RFC 4291. */
const globalUnicast = ipaddr.IPv6.parseCIDR("2000::/3");

/** Why nothing may be sent to this address; null where it may. In development http is good too, and so is this machine. */
export function addressFault(text: string, isDevelopment: boolean): string | null {
  if (text.length > mostCharacters) return `an address has at most ${mostCharacters} characters`;
  const url = URL.parse(text);
  if (url === null) return "this is no URL";
  if (url.username !== "" || url.password !== "") return "an address has no user name or password in it";
  if (url.protocol !== "https:" && !(isDevelopment && url.protocol === "http:")) return "only https is allowed";
  if (isDevelopment && isThisMachine(url.hostname)) return null;
  if (url.port !== "" && Number(url.port) < leastFreePort) return `the port must be 443, or ${leastFreePort} or higher`;
  return isInside(url.hostname) ? "the host is not on the public internet, or not surely" : null;
}

/** Whether a host, as the URL parser writes it, is this machine by its name or its number. */
function isThisMachine(hostname: string): boolean {
  const host = hostname.replace(/\.$/, "").replace(/^\[(.*)\]$/, "$1");
  if (ipaddr.isValid(host)) return ipaddr.parse(host).range() === "loopback";
  return host === "localhost" || host.endsWith(".localhost");
}

/** Whether a host, as the URL parser writes it, may be on this machine or network. */
function isInside(hostname: string): boolean {
  // The dot at the end of a full name changes nothing of what it means.
  const host = hostname.replace(/\.$/, "");
  if (host.startsWith("[")) return !isPublic(host.slice(1, -1));
  if (ipaddr.IPv4.isValid(host)) return !isPublic(host);
  const labels = host.split(".");
  if (labels.length < 2 || labels.includes("")) return true;
  return [...insideNames, ...resolverNames].some((name) => host === name || host.endsWith(`.${name}`));
}

function isPublic(address: string): boolean {
  const parsed = ipaddr.parse(address);
  // Every range that has another name is for something else: mapped, translated and tunnelled addresses too.
  if (parsed.range() !== "unicast" || hostServices.has(address)) return false;
  return !(parsed instanceof ipaddr.IPv6) || parsed.match(globalUnicast);
}

/** A list of names, as it is easiest to read. */
function names(list: string): string[] {
  return list.trim().split(/\s+/);
}
