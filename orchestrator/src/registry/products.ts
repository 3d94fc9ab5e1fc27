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

/** The product whose platform key has the SHA-256 `$1`. */
export const PRODUCT_BY_KEY =
  'SELECT id, slug, display_name, api_key_hash, policy FROM products WHERE api_key_hash = $1';

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
