import { useCallback, useState } from 'react';

/** A choice of the reader that this browser keeps. Nothing confidential: names of columns, names of views, filters. */
export function usePreference<T>(name: string, initial: T): [T, (value: T) => void] {
  const key = `polony.${name}`;
  const [value, setValue] = useState<T>(() => {
    try {
      const stored = localStorage.getItem(key);
      return stored === null ? initial : (JSON.parse(stored) as T);
    } catch {
      return initial;
    }
  });
  const set = useCallback(
    (next: T) => {
      setValue(next);
      localStorage.setItem(key, JSON.stringify(next));
    },
    [key],
  );
  return [value, set];
}
