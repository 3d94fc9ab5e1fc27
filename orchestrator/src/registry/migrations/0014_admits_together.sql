-- The rate limit (O17) for several admits of one product at once: the callers of a moment are looked up together
-- (admission/looks.ts), and take their part of the allowance together.
DROP FUNCTION take_admit(uuid, integer);

-- `granted`: how many admits there were to take; `wait_s`: after how many seconds there is one more.
CREATE TYPE allowance AS (granted integer, wait_s double precision);

-- Takes up to `wanted` admits out of a product's allowance of `rpm` in any 60 seconds. What was not granted is not
-- counted.
--
-- Exact, because admits of one product are put in line by a lock and numbered: number n is within the allowance if
-- and only if number n - rpm has left the window. That is as many look-ups as are wanted, whatever rpm is.
-- The lock is held to the end of the transaction, which does not wait for the disk: a crash of the
-- database may forget the last few admits, never invent any.
CREATE FUNCTION take_admits(product uuid, rpm integer, wanted integer) RETURNS allowance
LANGUAGE plpgsql AS $$
DECLARE
  span constant interval := interval '60 seconds';
  last admits%ROWTYPE;
  bar admits%ROWTYPE;
  moment timestamptz;
  granted integer;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended(product::text, 0));
  SELECT * INTO last FROM admits WHERE product_id = product ORDER BY n DESC LIMIT 1;
  last.n := coalesce(last.n, 0);
  -- Numbers must not run against time, even where the clock is set back.
  moment := greatest(clock_timestamp(), last.at);
  -- The first of the numbers that stand in the way.
  SELECT * INTO bar FROM admits
   WHERE product_id = product AND n > last.n - rpm AND n <= last.n - rpm + wanted AND at > moment - span
   ORDER BY n LIMIT 1;
  -- More than rpm at once stand in their own way.
  granted := least(wanted, rpm, bar.n - (last.n - rpm) - 1);
  INSERT INTO admits (product_id, n, at)
    SELECT product, last.n + i, moment FROM generate_series(1, granted) AS i;
  -- 64 come, up to 128 of the oldest go: what has left the window is cleared faster than it gathers.
  IF last.n / 64 < (last.n + granted) / 64 THEN
    DELETE FROM admits WHERE product_id = product AND at <= moment - span
       AND n IN (SELECT n FROM admits WHERE product_id = product ORDER BY n LIMIT 128);
  END IF;
  RETURN (granted, extract(epoch FROM coalesce(bar.at, moment) + span - moment)::double precision);
END $$;
