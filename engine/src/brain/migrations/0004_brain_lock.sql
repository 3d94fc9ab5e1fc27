-- The highest epoch that has held this brain (O22). One row.
CREATE TABLE brain_lock (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  epoch INTEGER
) STRICT;

INSERT INTO brain_lock (id, epoch) VALUES (1, NULL);
