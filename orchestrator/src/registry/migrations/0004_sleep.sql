-- Sleep (bap-engine, "Sleep"; O4, O5): how deep an engine sleeps, and when it is looked at next.
ALTER TABLE engines
  -- How deep it sleeps. Set from the moment a sleep begins, while the engine still is `running`: an admit
  -- that comes in between sees it in the row it is about to note itself on (registry/sleep.ts).
  ADD COLUMN sleep_depth text CHECK (sleep_depth IN ('label', 'doze', 'hibernate')),
  -- When it last fell asleep.
  ADD COLUMN slept_at timestamptz,
  -- The last admit, exact to a second; written without waiting for the disk.
  ADD COLUMN last_admit_at timestamptz,
  -- When the idle detector looks at it next; the claim of a look moves it on.
  ADD COLUMN next_idle_check_at timestamptz NOT NULL DEFAULT now();

-- The label of earlier versions is a label.
UPDATE engines SET sleep_depth = 'label' WHERE status = 'sleeping';
ALTER TABLE engines ADD CONSTRAINT engines_sleep_depth CHECK (
  CASE status WHEN 'sleeping' THEN sleep_depth IS NOT NULL
              WHEN 'running' THEN true
              ELSE sleep_depth IS NULL END);

-- What the idle detector looks at, the longest due first: engines that may fall asleep, or deeper.
CREATE INDEX engines_due_idle_check ON engines (next_idle_check_at)
  WHERE status = 'running' OR sleep_depth = 'doze';

-- A sleep: for how long the engine must have been quiet, seconds; 0: a person wants it, so only now counts.
ALTER TABLE operations ADD COLUMN quiet_s integer;
