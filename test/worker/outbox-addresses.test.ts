// Addresses, as workerd's URL parser reads them.
import { checkAddresses } from "../outbox/address-cases.ts";

checkAddresses();
