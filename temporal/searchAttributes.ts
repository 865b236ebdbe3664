import type { Connection } from '@temporalio/client';

/** The types of search attributes. */
export type SearchAttributeType = 'Keyword' | 'KeywordList' | 'Text' | 'Int' | 'Double' | 'Bool' | 'Datetime';

/** Temporal is not reachable, or does not accept polony's search attributes. The message says what to do. */
export class TemporalError extends Error {
  override readonly name = 'TemporalError';
}

/** The numbers of the types in the API of Temporal. */
export const INDEXED_VALUE_TYPE: Record<SearchAttributeType, number> = {
  Text: 1,
  Keyword: 2,
  Int: 3,
  Double: 4,
  Bool: 5,
  Datetime: 6,
  KeywordList: 7,
};
const ALREADY_EXISTS = 6;

/**
 * Registers the search attributes that a namespace lacks through the operator service, and waits until they are usable.
 * Attributes that exist with the same type stay as they are.
 * @throws TemporalError where an attribute exists with another type, or the server does not allow the registration
 * (Temporal Cloud does not). The message then has the commands to run by hand.
 */
export async function registerSearchAttributes(
  connection: Connection,
  namespace: string,
  attributes: Readonly<Record<string, SearchAttributeType>>,
): Promise<void> {
  const names = Object.keys(attributes);
  if (names.length === 0) return;
  const listCommands = (list: string[]): string =>
    list
      .map(
        (name) =>
          `\n  temporal operator search-attribute create --namespace ${namespace} --name ${name} ` +
          `--type ${attributes[name]}`,
      )
      .join('');
  const existing = async (): Promise<Record<string, number | null | undefined>> => {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    return { ...customAttributes };
  };
  try {
    const before = await existing();
    const wrong = names.filter((name) => name in before && before[name] !== INDEXED_VALUE_TYPE[attributes[name]!]);
    if (wrong.length > 0) {
      throw new TemporalError(
        `The namespace ${namespace} has search attributes of other types than polony needs: ` +
          `${wrong.map((name) => `${name} (needed: ${attributes[name]})`).join(', ')}. Use another namespace.`,
      );
    }
    const missing = names.filter((name) => !(name in before));
    if (missing.length === 0) return;
    try {
      await connection.operatorService.addSearchAttributes({
        namespace,
        searchAttributes: Object.fromEntries(missing.map((name) => [name, INDEXED_VALUE_TYPE[attributes[name]!]])),
      });
    } catch (error) {
      if ((error as { code?: number }).code !== ALREADY_EXISTS) throw error;
    }
    const deadline = Date.now() + 30_000;
    for (;;) {
      const now = await existing();
      const absent = names.filter((name) => !(name in now));
      if (absent.length === 0) return;
      if (Date.now() > deadline)
        throw new TemporalError(
          `Search attributes were added to the namespace ${namespace} and did not appear within 30 s: ` +
            `${absent.join(', ')}. Start polony again in a minute. If they are still missing, ` +
            'check the Temporal server.',
        );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } catch (error) {
    if (error instanceof TemporalError) throw error;
    throw new TemporalError(
      `Search attributes cannot be registered in the namespace ${namespace}: ${(error as Error).message}. ` +
        `Register them by hand:${listCommands(names)}`,
      {
        cause: error,
      },
    );
  }
}
