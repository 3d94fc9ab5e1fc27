/** What things of an engine are called in Docker. Source: O15. */

export const LABEL = {
  engine_id: 'dev.september.engine-id',
  epoch: 'dev.september.epoch',
  /** Port of the host; of a container that does not run the daemon's list does not tell it. */
  port: 'dev.september.port',
  /** The network: by it the engines of one installation are told from those of another on the same daemon. */
  network: 'dev.september.network',
  /** What a volume stands for: a `MarkKind`; the data volume has none. */
  mark: 'dev.september.mark',
  /** Of a thaw's mark: the container that was thawed. */
  thawed: 'dev.september.thawed',
  /** Of a copy of the data and the mark that it is complete: the epoch it was made for, which is no fence. */
  copy: 'dev.september.copy',
  /** Of a container that copies data in the place of the engine's. */
  copying: 'dev.september.copying',
} as const;

/** The container, and its name in the network. */
export const containerName = (engine_id: string) => `engine-${engine_id.slice(0, 12)}`;

export const dataVolume = (engine_id: string) => `engine-data-${engine_id}`;

/** The mark of a start, which also holds its secrets. */
export const startVolume = (engine_id: string, epoch: number) => `engine-start-${engine_id}-${epoch}`;

export const copyVolume = (engine_id: string, epoch: number) => `engine-copy-${engine_id}-${epoch}`;
