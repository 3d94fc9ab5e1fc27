/**
 * What a look at one thing an orchestrator needs has found. `problem`: it cannot work like this. `warning`: it
 * works, and somebody should know. `found` and `advice` are for people: no secret.
 */
export type Finding = {
  check:
    | 'configuration'
    | 'node'
    | 'data folder'
    | 'catalog'
    | 'docker'
    | 'database'
    | 'master key'
    | 'ports'
    | 'epochs'
    | 'orchestrator';
  verdict: 'ok' | 'warning' | 'problem';
  found: string;
  advice?: string;
};
