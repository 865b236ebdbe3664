import { polonyClient } from '../../client/index.js';
import { answeredError, CliError, unreachable } from './exit.js';
import { write } from './output.js';
import type { PreparedRequest } from './requests.js';

/** Writes the audit log as CSV to standard output, as it arrives. @throws CliError */
export async function exportAudit({ api, query }: PreparedRequest): Promise<void> {
  try {
    const { data, error, response } = await polonyClient(api).GET('/v1/audit-log/export', {
      params: { query },
      parseAs: 'stream',
    });
    if (!response.ok) throw answeredError(response, error, api);
    const decoder = new TextDecoder();
    for await (const chunk of data ?? []) await write(decoder.decode(chunk as Uint8Array, { stream: true }));
    if (response.headers.get('x-polony-more') === 'true')
      process.stderr.write(
        `These are the newest ${response.headers.get('x-polony-entries')} entries. ` +
          'Narrow --since and --until to get the others.\n',
      );
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw unreachable(api.url, error);
  }
}
