-- The rate limit (O17), the same rule for less work. An admit wrote three rows: its own, a lock on its product's
-- for the foreign key, and the removal of old ones. Now it writes its own; a product that goes takes its admits
-- along by a trigger, and what has left the window is cleared once in 64 admits.
ALTER TABLE admits DROP CONSTRAINT admits_product_id_fkey;

CREATE FUNCTION forget_admits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM admits WHERE product_id = OLD.id;
  RETURN NULL;
END $$;
CREATE TRIGGER products_forget_admits AFTER DELETE ON products FOR EACH ROW EXECUTE FUNCTION forget_admits();

-- Takes one admit out of a product's allowance of `rpm` in any 60 seconds.
-- Answers 0 when it was granted, else after how many seconds it would be; a refusal is not counted.
--
-- Exact, because admits of one product are put in line by a lock and numbered: number n is within the
-- allowance if and only if number n - rpm has left the window. That is one look-up, whatever rpm is.
-- The lock is held to the end of the transaction, which does not wait for the disk: a crash of the
-- database may forget the last few admits, never invent any.
CREATE OR REPLACE FUNCTION take_admit(product uuid, rpm integer) RETURNS double precision
LANGUAGE plpgsql AS $$
DECLARE
  span constant interval := interval '60 seconds';
  last admits%ROWTYPE;
  moment timestamptz;
  bar timestamptz;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended(product::text, 0));
  SELECT * INTO last FROM admits WHERE product_id = product ORDER BY n DESC LIMIT 1;
  -- Numbers must not run against time, even where the clock is set back.
  moment := greatest(clock_timestamp(), last.at);
  SELECT at + span INTO bar FROM admits WHERE product_id = product AND n = last.n + 1 - rpm;
  IF bar > moment THEN
    RETURN extract(epoch FROM bar - moment);
  END IF;
  INSERT INTO admits (product_id, n, at) VALUES (product, coalesce(last.n, 0) + 1, moment);
  -- 64 come, up to 128 of the oldest go: what has left the window is cleared faster than it gathers.
  IF last.n % 64 = 0 THEN
    DELETE FROM admits WHERE product_id = product AND at <= moment - span
       AND n IN (SELECT n FROM admits WHERE product_id = product ORDER BY n LIMIT 128);
  END IF;
  RETURN 0;
END $$;
