import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Family, gauge } from './exposition.ts';

/** How exactly lag is measured, milliseconds; what is less is no lag. */
const RESOLUTION_MS = 20;

export type ProcessWatch = {
  /** How the process is, under the names that dashboards for Node.js know. */
  families(): Family[];
  close(): void;
};

/** Watches this process from now on. */
export function watchProcess(): ProcessWatch {
  const started_s = Date.now() / 1000 - process.uptime();
  const lag = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  lag.enable();
  return {
    families() {
      const seconds = (nanoseconds: number) =>
        // What the timer takes by itself is no lag; before its first turn there is nothing to tell.
        Number.isFinite(nanoseconds) ? Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000) : 0;
      const { rss, heapUsed } = process.memoryUsage();
      const { user, system } = process.cpuUsage();
      const families = [
        gauge(
          'nodejs_eventloop_lag_p50_seconds',
          'Half of the lags since the last reading are below.',
          seconds(lag.percentile(50)),
        ),
        gauge(
          'nodejs_eventloop_lag_p99_seconds',
          'Of a hundred lags since the last reading one is above.',
          seconds(lag.percentile(99)),
        ),
        gauge(
          'nodejs_eventloop_lag_max_seconds',
          'The longest lag since the last reading.',
          seconds(lag.max),
        ),
        gauge('nodejs_heap_size_used_bytes', 'Memory in use by JavaScript.', heapUsed),
        gauge('process_resident_memory_bytes', 'Memory of the process.', rss),
        gauge('process_start_time_seconds', 'When the process started, seconds since 1970.', started_s),
        {
          ...gauge('process_cpu_seconds_total', 'Time on the CPU.', (user + system) / 1e6),
          type: 'counter' as const,
        },
      ];
      lag.reset();
      return families;
    },
    close: () => void lag.disable(),
  };
}
