import { randomBytes } from 'node:crypto';

/** Opaque ids: `req-` one HTTP request, `turn-` one turn, `msg-` one message of a conversation. */
export type NewId = (kind: 'req' | 'turn' | 'msg') => string;

/** 72 random bits: a brain would have to hold billions of ids before two meet. */
export const randomId: NewId = (kind) => `${kind}-${randomBytes(9).toString('base64url')}`;
