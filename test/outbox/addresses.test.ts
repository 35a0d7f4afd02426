// Addresses, as Node's URL parser reads them.
import { checkAddresses } from "./address-cases.ts";

checkAddresses();
