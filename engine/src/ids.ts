import { randomBytes } from 'node:crypto';

/**
 * Opaque ids: `req-` one HTTP request, `turn-` one turn, `msg-` one message, `hitl-` one question to a person,
 * `perm-` one permission for later, `outside-` one answer of strangers.
 */
export type NewId = (kind: 'req' | 'turn' | 'msg' | 'hitl' | 'perm' | 'outside') => string;

/** 72 random bits: a brain would have to hold billions of ids before two meet. */
export const randomId: NewId = (kind) => `${kind}-${randomBytes(9).toString('base64url')}`;
