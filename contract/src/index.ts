/**
 * What bap-engine and an Engine have agreed on, and nothing else: the only code both programs import.
 * Schemas and constants, no logic. Source: bap-engine, "Engine contract".
 */
export * from './activity.ts';
export * from './environment.ts';
export * from './errors.ts';
export * from './health.ts';
export * from './keys.ts';
