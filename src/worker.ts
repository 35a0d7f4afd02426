// The worker: the app, and the class of the objects that hold conversations.
import { modelIds } from "./conversation/engines.ts";
import { createApp } from "./http/app.ts";

export { Conversation } from "./conversation/conversation.ts";

export default createApp({ modelIds, log: (line) => console.log(line) });
