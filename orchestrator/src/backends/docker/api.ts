/**
 * The Docker daemon's API, one call at a time: each with a limit of its own, each failure as one of four kinds.
 *
 * The problem: a daemon may hang, restart, be full or answer nonsense, and none of that says anything about an engine.
 * The rule: only what the daemon itself says about the thing asked for counts (`gone`, `conflict`, `refused`); all else
 * is `unavailable`, and the way out of it is to ask again. Without a limit on every call one wedged daemon would hold
 * every operation until its deadline.
 *
 * The client is dockerode's own (docker-modem), used below its named methods: those put a container's whole settings
 * into the address as well, secrets and all. No version stands in the paths: the daemon then speaks its newest.
 */
import { Agent } from 'node:http';
import type { Readable } from 'node:stream';
import Dockerode from 'dockerode';

/** How long the daemon may take to tell something, milliseconds. */
const LOOK_LIMIT_MS = 5_000;
/** How long it may take to do something: a start waits for the kernel, and thirty at once for each other, milliseconds. */
const ACT_LIMIT_MS = 60_000;
/** Calls at once that do something; more of them wait here rather than in the daemon. */
const MAX_ACTS = 64;

export type DockerRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  path: string;
  query?: Record<string, string | number | boolean>;
  body?: object;
  file?: Buffer;
  signal?: AbortSignal;
  /** How long an answer may take, milliseconds. */
  limit_ms?: number;
};

export type DockerApi = {
  /** The answer, read as JSON where it is that. Throws `DockerError`, or the reason of `signal`. */
  call(request: DockerRequest): Promise<unknown>;
  /** An answer that goes on; the limit holds for its beginning. */
  stream(request: DockerRequest): Promise<Readable>;
  /** Breaks off whatever is under way. */
  close(): void;
};

/** `gone`: there is no such thing. `conflict`: it is in another state than asked for. `refused`: it never will be done. */
export type DockerErrorKind = 'gone' | 'conflict' | 'refused' | 'unavailable';

export class DockerError extends Error {
  override name = 'DockerError';
  readonly kind: DockerErrorKind;

  constructor(kind: DockerErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

export const isDocker = (error: unknown, ...kinds: DockerErrorKind[]): error is DockerError =>
  error instanceof DockerError && kinds.includes(error.kind);

/** `host`: as in `DOCKER_HOST`: `unix:///path` or `tcp://host:port`. Nothing is connected before the first call. */
export function openDockerApi(host: string): DockerApi {
  const looks = new Agent({ keepAlive: true });
  const acts = new Agent({ keepAlive: true, maxSockets: MAX_ACTS });
  // Two clients: a look must not wait behind sixty stops that take half a minute each.
  const ask = clientOf(host, looks);
  const act = clientOf(host, acts);
  const life = new AbortController();

  async function dial(request: DockerRequest, isStream: boolean): Promise<unknown> {
    const { method, path, query = {}, body = {}, file, signal } = request;
    const isLook = method === 'GET';
    const limit_ms = request.limit_ms ?? (isLook ? LOOK_LIMIT_MS : ACT_LIMIT_MS);
    const late = new AbortController();
    const alarm = setTimeout(() => {
      late.abort(new DockerError('unavailable', `The Docker daemon does not answer within ${limit_ms} ms.`));
    }, limit_ms);
    const cut = AbortSignal.any([late.signal, life.signal, ...(signal ? [signal] : [])]);
    try {
      return await new Promise((resolve, reject) => {
        // The client itself never comes back where an answer breaks off in the middle.
        cut.addEventListener('abort', () => reject(cut.reason), { once: true });
        cut.throwIfAborted();
        (isLook ? ask : act).modem.dial(
          {
            method,
            path: `${path}?`,
            options: { _query: query, _body: body },
            ...(file && { file }),
            isStream,
            abortSignal: cut,
            statusCodes: { 200: true, 201: true, 204: true, 304: true },
          },
          (error: unknown, answer: unknown) => (error ? reject(error) : resolve(answer)),
        );
      });
    } catch (error) {
      signal?.throwIfAborted();
      throw cut.aborted ? cut.reason : asDockerError(error);
    } finally {
      clearTimeout(alarm);
    }
  }

  return {
    call: (request) => dial(request, false),
    stream: async (request) => (await dial(request, true)) as Readable,
    close() {
      life.abort(new DockerError('unavailable', 'This orchestrator ends.'));
      looks.destroy();
      acts.destroy();
    },
  };
}

/** Its types know no agent. All of the address is given, or some would be taken from this process's environment. */
type ClientOptions = Dockerode.DockerOptions & { agent: Agent };

function clientOf(host: string, agent: Agent): Dockerode {
  const { hostname, port, pathname } = new URL(host);
  const options: ClientOptions = host.startsWith('unix://')
    ? { agent, socketPath: decodeURIComponent(pathname), host: undefined }
    : { agent, host: hostname, port: Number(port), protocol: 'http', socketPath: undefined };
  return new Dockerode(options);
}

function asDockerError(error: unknown): DockerError {
  const { statusCode, json, code } = error as {
    statusCode?: number;
    json?: { message?: unknown };
    code?: string;
  };
  if (statusCode === undefined) {
    const message = `The Docker daemon does not answer (${code ?? 'connection lost'}).`;
    return new DockerError('unavailable', message, { cause: error });
  }
  const words = typeof json?.message === 'string' ? json.message : `HTTP ${statusCode}`;
  return new DockerError(kindOf(statusCode), `Docker: ${words}`, { cause: error });
}

function kindOf(status: number): DockerErrorKind {
  if (status === 404) return 'gone';
  if (status === 409) return 'conflict';
  return status < 500 ? 'refused' : 'unavailable';
}
