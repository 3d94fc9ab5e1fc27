-- Roll-outs of engine images: one row for each image that engines ever were to have. The current one is the one
-- begun last.
CREATE TABLE rollouts (
  image text PRIMARY KEY,
  -- So many of a hundred engines that it concerns may have it; new engines are not counted, they have it at once.
  percent integer NOT NULL CHECK (percent BETWEEN 0 AND 100),
  -- Running engines are upgraded as well; else only those that boot anyway.
  eager boolean NOT NULL DEFAULT false,
  -- The last image before it that was good: what new engines get while this one is halted. Null: there was none.
  previous text,
  -- When an orchestrator was first configured with it, since another one was; null: never.
  configured_at timestamptz,
  started_at timestamptz NOT NULL DEFAULT now(),
  -- Tries before that do not count any more.
  resumed_at timestamptz NOT NULL DEFAULT now(),
  -- When an engine had been well on it for long enough.
  proven_at timestamptz,
  halted_at timestamptz,
  halted_reason text,
  -- The engine that gave the reason.
  halted_engine uuid,
  CHECK ((halted_at IS NULL) = (halted_reason IS NULL))
);
CREATE INDEX rollouts_by_start ON rollouts (started_at);

ALTER TABLE engines
  -- Its provision named the version. Until now that chose nothing but a word in a list, so of the engines there
  -- are none is pinned.
  ADD COLUMN version_pinned boolean NOT NULL DEFAULT false,
  -- The image it was last upgraded to, or tried to be, and when that began: its place in the share.
  ADD COLUMN upgrade_image text,
  ADD COLUMN upgrade_at timestamptz,
  -- When it is looked at next by a roll-out that upgrades running engines.
  ADD COLUMN next_upgrade_at timestamptz NOT NULL DEFAULT now(),
  -- Its data has been a newer image's: it is brought back before anything boots it again.
  ADD COLUMN revert_due boolean NOT NULL DEFAULT false,
  -- Until when the copy of its data from before its last upgrade is kept; null: there is none.
  ADD COLUMN snapshot_until timestamptz;
CREATE INDEX engines_upgraded ON engines (upgrade_image) WHERE upgrade_image IS NOT NULL;
CREATE INDEX engines_with_snapshot ON engines (snapshot_until) WHERE snapshot_until IS NOT NULL;

ALTER TABLE operations
  -- An upgrade: where it leads to.
  ADD COLUMN image text,
  -- What it began by failing.
  ADD COLUMN followed_by uuid;
