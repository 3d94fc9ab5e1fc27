-- The platform key that a product had before, and until when it is good (O27).
ALTER TABLE products
  ADD COLUMN old_api_key_hash text CONSTRAINT products_old_api_key_hash_unique UNIQUE,
  ADD COLUMN old_key_valid_until timestamptz,
  ADD CONSTRAINT products_old_key CHECK ((old_api_key_hash IS NULL) = (old_key_valid_until IS NULL));
