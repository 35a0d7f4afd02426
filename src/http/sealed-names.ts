// Names of objects that anybody may call without a key. Each ends in a seal of the server: of a name that it did not make
// no object is woken, and none keeps a file of it. Where the server has no secret it is open, and every name may be one.
import { base32, randomName } from "../conversation/names.ts";
import { isSameSecret, keySecretOf, macOf, type ServerSecrets } from "../tenant/api-key.ts";

/** 100 random bits, and 60 of the seal: together as long as all names are. */
const headLength = 20;
const sealLength = 12;

export function sealedName(kind: string, secrets: ServerSecrets): string {
  const name = randomName();
  const secret = keySecretOf(secrets);
  return secret === null ? name : name.slice(0, headLength) + sealOf(kind, name.slice(0, headLength), secret);
}

/** Whether this server made a name. */
export function isSealed(kind: string, name: string, secrets: ServerSecrets): boolean {
  const secret = keySecretOf(secrets);
  return secret === null || isSameSecret(sealOf(kind, name.slice(0, headLength), secret), name.slice(headLength));
}

const sealOf = (kind: string, head: string, secret: string) =>
  base32(macOf(`${kind} ${head}`, secret)).slice(0, sealLength);
