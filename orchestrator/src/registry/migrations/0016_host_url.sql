-- Where a port of the host is published and `url` is not that already, the address of it (O14).
ALTER TABLE engines ADD COLUMN host_url text;
