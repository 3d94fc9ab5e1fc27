import { OrchestratorError } from '../errors.ts';
import { type Sql, violates } from './db.ts';
import type { Policy } from './policy.ts';

/** A tenant. `api_key_hash` is the SHA-256 of its platform key. */
export type ProductRow = {
  id: string;
  slug: string;
  display_name: string;
  api_key_hash: string;
  policy: Policy;
};

/** Adds a product. Throws `PRODUCT_SLUG_EXISTS`. */
export async function insertProduct(sql: Sql, product: Omit<ProductRow, 'id'>): Promise<ProductRow> {
  try {
    const [row] = await sql.query<ProductRow>(
      `INSERT INTO products (slug, display_name, api_key_hash, policy)
       VALUES ($1, $2, $3, $4) RETURNING *`,
      [product.slug, product.display_name, product.api_key_hash, product.policy],
    );
    if (row === undefined) throw new TypeError('INSERT gave no row');
    return row;
  } catch (error) {
    if (!violates(error, 'products_slug_unique')) throw error;
    throw new OrchestratorError('PRODUCT_SLUG_EXISTS', `The slug "${product.slug}" is taken.`);
  }
}

/**
 * The product whose platform key has the SHA-256 `$1`; the key before counts as long as it is good. One look-up in one
 * index for the current key: the second part is run only where the first found nothing.
 */
export const PRODUCT_BY_KEY = `
  SELECT id, slug, display_name, api_key_hash, policy FROM products WHERE api_key_hash = $1
  UNION ALL
  SELECT id, slug, display_name, old_api_key_hash, policy FROM products
   WHERE old_api_key_hash = $1 AND old_key_valid_until > now()
  LIMIT 1`;

export async function productByKeyHash(sql: Sql, api_key_hash: string): Promise<ProductRow | null> {
  const [row] = await sql.query<ProductRow>(PRODUCT_BY_KEY, [api_key_hash]);
  return row ?? null;
}

export async function productById(sql: Sql, id: string): Promise<ProductRow | null> {
  const [row] = await sql.query<ProductRow>('SELECT * FROM products WHERE id = $1', [id]);
  return row ?? null;
}

/** Replaces the policy, no merge; null when there is no such product. */
export async function replacePolicy(sql: Sql, id: string, policy: Policy): Promise<ProductRow | null> {
  const [row] = await sql.query<ProductRow>('UPDATE products SET policy = $2 WHERE id = $1 RETURNING *', [
    id,
    policy,
  ]);
  return row ?? null;
}

/**
 * Gives a product a new platform key; the one it has stays good for `overlap_s` seconds, the one before that ends
 * now. Null when there is no such product.
 */
export async function replaceKeyHash(
  sql: Sql,
  id: string,
  api_key_hash: string,
  overlap_s: number,
): Promise<{ slug: string; old_key_valid_until: Date } | null> {
  const [row] = await sql.query<{ slug: string; old_key_valid_until: Date }>(
    `UPDATE products
        SET api_key_hash = $2, old_api_key_hash = api_key_hash,
            old_key_valid_until = now() + make_interval(secs => $3)
      WHERE id = $1 RETURNING slug, old_key_valid_until`,
    [id, api_key_hash, overlap_s],
  );
  return row ?? null;
}

/** A product as operators see it in a list. */
export type ListedProduct = Pick<ProductRow, 'id' | 'slug' | 'display_name' | 'policy'> & {
  created_at: Date;
  /** Null: only one key is good. */
  old_key_valid_until: Date | null;
  engines: number;
  tombstones: number;
};

/** A page of all products, oldest first, and how many there are in all pages; both at the same moment. */
export async function listProducts(
  sql: Sql,
  page: { limit: number; offset: number },
): Promise<{ products: ListedProduct[]; total: number }> {
  // A page past the end has no rows; the total is there all the same, beside nulls.
  const rows = await sql.query<{ total: number } & (ListedProduct | { id: null })>(
    `SELECT page.*, counted.total
       FROM (SELECT count(*)::int AS total FROM products) AS counted
       LEFT JOIN (
         SELECT id, slug, display_name, policy, created_at, engine_count AS engines,
                CASE WHEN old_key_valid_until > now() THEN old_key_valid_until END AS old_key_valid_until,
                (SELECT count(*)::int FROM engines e
                  WHERE e.product_id = products.id AND e.tombstone_until IS NOT NULL) AS tombstones
           FROM products ORDER BY created_at, id LIMIT $1 OFFSET $2) AS page ON true
      ORDER BY page.created_at, page.id`,
    [page.limit, page.offset],
  );
  return { products: rows.filter((row) => row.id !== null), total: rows[0]?.total ?? 0 };
}

/**
 * Removes a product, with what was kept of its requests; `has_engines`, without effect, while there are engines or
 * tombstones of it; null when there is no such product. Its audit rows and operations stay.
 */
export async function deleteProduct(sql: Sql, id: string): Promise<{ slug: string } | 'has_engines' | null> {
  // Whoever adds an engine takes this lock too: none is added between the look and the removal.
  const [product] = await sql.query<{ slug: string }>('SELECT slug FROM products WHERE id = $1 FOR UPDATE', [
    id,
  ]);
  if (product === undefined) return null;
  const engines = await sql.query('SELECT 1 FROM engines WHERE product_id = $1 LIMIT 1', [id]);
  if (engines.length > 0) return 'has_engines';
  await sql.query('DELETE FROM products WHERE id = $1', [id]);
  await sql.query('DELETE FROM idempotency_keys WHERE scope = $1', [id]);
  return product;
}
