import type { Health } from '@september/contract';
import { EngineError, ERRORS, type ErrorCode } from '../errors.ts';

/**
 * What an Engine answers while it has no brain: `/health` with its state, everything else with one error. So
 * a probe and a client that come too early, or to an Engine that can never serve this brain, are told so
 * instead of being refused a connection. Source: engine-api, "GET /health"; engine-runtime, "Brain".
 */
export function unready(
  status: 'starting' | 'error',
  refusal: { code: Extract<ErrorCode, 'NOT_READY' | 'MIGRATION_REQUIRED'>; message: string },
  uptime: () => number,
): (request: Request) => Response {
  const error = new EngineError(refusal.code, refusal.message);
  return (request) => {
    const health: Health = {
      status,
      uptime_seconds: uptime(),
      subsystems: {
        database: status === 'error' ? 'error' : 'starting',
        llm_provider: 'starting',
        asset_directory: 'disabled',
      },
    };
    const asked = new URL(request.url).pathname === '/health';
    return Response.json(asked ? health : error.body(), {
      status: ERRORS[refusal.code].status,
      headers: { 'Retry-After': '2' },
    });
  };
}
