import type { Connection } from '@temporalio/client';

/** The types a search attribute can be registered with. */
export type SearchAttributeType = 'Keyword' | 'KeywordList' | 'Text' | 'Int' | 'Double' | 'Bool' | 'Datetime';

/** No Temporal server can be had, or it does not take our search attributes; the message says what to do. */
export class TemporalError extends Error {
  override readonly name = 'TemporalError';
}

const INDEXED_VALUE_TYPE: Record<SearchAttributeType, number> = {
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
 * Registers search attributes that a namespace lacks, by the operator service, and waits until they can be used. One that exists with
 * the same type, or appears at the same moment, is fine. Throws {@link TemporalError} with the commands to run by hand when the
 * server does not let us (Temporal Cloud does not) or has one of them with another type.
 */
export async function registerSearchAttributes(
  connection: Connection,
  namespace: string,
  attributes: Readonly<Record<string, SearchAttributeType>>,
): Promise<void> {
  const names = Object.keys(attributes);
  if (names.length === 0) return;
  const byHand = (list: string[]): string =>
    list
      .map(
        (name) =>
          `\n  temporal operator search-attribute create --namespace ${namespace} --name ${name} --type ${attributes[name]}`,
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
        `Namespace ${namespace} has search attributes of another type than ours: ${wrong.map((name) => `${name} (needed: ${attributes[name]})`).join(', ')}. Use another namespace.`,
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
          `Search attributes were added to namespace ${namespace} but do not appear: ${absent.join(', ')}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } catch (error) {
    if (error instanceof TemporalError) throw error;
    throw new TemporalError(
      `Search attributes cannot be registered in namespace ${namespace}: ${(error as Error).message}. Register them by hand:${byHand(names)}`,
      {
        cause: error,
      },
    );
  }
}
