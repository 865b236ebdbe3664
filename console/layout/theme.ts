import { applyMode, Mode } from '@cloudscape-design/global-styles';
import { useSyncExternalStore } from 'react';

/** `system` follows the operating system. */
export type Theme = 'system' | 'light' | 'dark';

const STORAGE_KEY = 'polony.theme';
const darkSystem = matchMedia('(prefers-color-scheme: dark)');
const listeners = new Set<() => void>();

function read(): Theme {
  const stored = localStorage.getItem(STORAGE_KEY);
  return stored === 'light' || stored === 'dark' ? stored : 'system';
}

const isDark = (): boolean => (read() === 'system' ? darkSystem.matches : read() === 'dark');

function apply(): void {
  applyMode(isDark() ? Mode.Dark : Mode.Light);
  document.documentElement.style.colorScheme = isDark() ? 'dark' : 'light';
  for (const listener of listeners) listener();
}

/** Shows the page in the theme that the reader chose, from now on. */
export function startTheme(): void {
  darkSystem.addEventListener('change', apply);
  apply();
}

/** Keeps the reader's choice in this browser. */
export function setTheme(theme: Theme): void {
  localStorage.setItem(STORAGE_KEY, theme);
  apply();
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** The reader's choice, and whether the page is dark now. */
export function useTheme(): { theme: Theme; isDark: boolean } {
  return { theme: useSyncExternalStore(subscribe, read), isDark: useSyncExternalStore(subscribe, isDark) };
}
