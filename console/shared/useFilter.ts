import { useQuery } from '@tanstack/react-query';
import { api, ask } from '../app/client.js';
import type { FilterBarProps, FilterKeyword } from './FilterBar.js';

const LABELS: Readonly<Record<string, string>> = { id: 'ID', q30: 'Q30', q40: 'Q40', q50: 'Q50' };

const KINDS: Readonly<Record<string, FilterKeyword['kind']>> = {
  status: 'enum',
  choice: 'enum',
  time: 'date',
  number: 'number',
  boolean: 'boolean',
};

/** `instrument.serial_number` as people read it. */
const labelOf = (keyword: string): string => {
  const words = keyword.replace(/^(setup|metrics)\.(sequencing|multiomics)\./, '').split(/[._]/);
  const text = words.map((word) => LABELS[word] ?? word).join(' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** The filter of a list: its keywords and values, as the API knows them. */
export function useFilter(list: 'runs' | 'executions'): Pick<FilterBarProps, 'keywords' | 'loadValues'> {
  const fields = useQuery({
    queryKey: ['filter-fields', list],
    queryFn: () => ask(api.GET(`/v1/${list}/filter-fields`)),
    staleTime: Infinity,
  });
  const keywords = (fields.data?.fields ?? []).map<FilterKeyword>(({ name, type, values, listsValues }) => ({
    keyword: name,
    label: labelOf(name),
    kind: KINDS[type] ?? 'text',
    values,
    listsValues,
  }));
  const loadValues = async (field: string, prefix: string): Promise<readonly string[]> => {
    const { values } = await ask(api.GET(`/v1/${list}/filter-values`, { params: { query: { field, prefix } } }));
    return values;
  };
  return { keywords, loadValues };
}
