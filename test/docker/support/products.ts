/** What a product does with a deployment, over HTTP. */
import { z } from 'zod';
import { type Deployment, docker } from './deployment.ts';

const Engine = z.object({
  engine_id: z.uuid(),
  url: z.url(),
  api_key: z.string(),
});
export type Engine = z.infer<typeof Engine>;

const Registered = z.object({ platform_api_key: z.string() });
const Admitted = z.object({ admitted: z.literal(true), engine: Engine });

export type Product = {
  platform_key: string;
  /** Brings the user's engine up where there is none. Throws the answer where it is not admitted. */
  admit(user_id: string): Promise<Engine>;
};

export async function registerProduct({ url, admin_key }: Deployment): Promise<Product> {
  const { platform_api_key } = await post(
    Registered,
    `${url}/products/register`,
    { 'X-Admin-Key': admin_key },
    { slug: 'demo', display_name: 'Demo product', policy: { max_engines: 10, sleep_mode: 'label' } },
  );
  return {
    platform_key: platform_api_key,
    async admit(user_id) {
      const flags = { auto_provision: true, auto_wake: true };
      const { engine } = await post(
        Admitted,
        `${url}/engines/${user_id}/admit`,
        { 'X-Platform-Key': platform_api_key },
        flags,
      );
      return engine;
    },
  };
}

/** One turn; gives the text of the answer. */
export async function say(engine: Engine, task_id: string, message: string): Promise<string> {
  const { api_key } = engine;
  const response = await fetch(`http://${await publishedAt(engine)}/execute`, {
    method: 'POST',
    headers: { 'X-Engine-Key': api_key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ message, task_id }),
  });
  const stream = await response.text();
  if (!stream.includes('"phase":"completed"')) throw new Error(`${response.status} ${stream}`);
  return [...stream.matchAll(/^data: (.*)$/gm)]
    .map(([, data = '']) => JSON.parse(data))
    .filter(({ type }) => type === 'text_delta')
    .map(({ text }) => text)
    .join('');
}

/** Where the engine's container is published on this machine. */
const publishedAt = ({ engine_id }: Engine) => docker('port', `engine-${engine_id.slice(0, 12)}`, '8000');

async function post<T>(
  shape: z.ZodType<T>,
  url: string,
  headers: Record<string, string>,
  body: object,
): Promise<T> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = shape.safeParse(await response.clone().json());
  if (!answer.success) throw new Error(`${response.status} ${await response.text()}`);
  return answer.data;
}
