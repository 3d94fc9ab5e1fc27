/** A model provider for tests: real sockets, real wire formats, answers by script. */
export type { ModelServer, ReceivedRequest, Reply, Step } from './script.ts';
export { startModelServer } from './server.ts';
