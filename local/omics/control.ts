/** Where the local HealthOmics is controlled, and the secret that it asks for. */
export interface OmicsControl {
  /** Such as `http://127.0.0.1:41234/_control`. */
  url: string;
  secret: string;
}

/** The header with the secret. Without it, any page in a browser on this machine could control the local HealthOmics. */
export const SECRET_HEADER = 'x-polony-secret';

/**
 * Calls the control API of the local HealthOmics; see `OmicsEmulator`.
 * @param where such as `faults` or `settings`
 * @throws Error with the message of the answer when it is refused
 */
export async function controlOmics<T = unknown>(
  { url, secret }: OmicsControl,
  method: 'GET' | 'POST' | 'DELETE',
  where: string,
  body?: unknown,
): Promise<T> {
  const response = await fetch(`${url}/${where}`, {
    method,
    headers: { [SECRET_HEADER]: secret },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as { message?: string };
  if (!response.ok)
    throw new Error(`The local HealthOmics refused ${method} ${where} (${response.status}): ${answer.message}`);
  return answer as T;
}
