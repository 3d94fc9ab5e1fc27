export type { ModelServer, ReceivedRequest, Reply, Step } from './script.ts';
