import Flashbar, { type FlashbarProps } from '@cloudscape-design/components/flashbar';
import { useLocation } from '@tanstack/react-router';
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from 'react';
import { ApiFailure } from '../app/client.js';

interface Notify {
  success: (content: ReactNode) => void;
  /** Shows an error, with the id of its request. */
  failure: (error: unknown, what?: string) => void;
}

const NotifyContext = createContext<Notify>({ success: () => undefined, failure: () => undefined });
const ItemsContext = createContext<FlashbarProps.MessageDefinition[]>([]);

let lastId = 0;

interface Item extends FlashbarProps.MessageDefinition {
  addedAt: number;
}

/** How long a success stays at least, in milliseconds: what leads to another page shows it before it goes there. */
const FRESH_MS = 2_000;

/** Successes tell what just happened, and are wrong soon after. Errors stay until somebody closes them. */
const withoutOldSuccesses = (items: readonly Item[]): Item[] =>
  items.filter(({ type, addedAt }) => type !== 'success' || Date.now() - addedAt < FRESH_MS);

/** Keeps the messages that pages show above their content. */
export function NotificationProvider({ children }: { children: ReactNode }): ReactNode {
  const [items, setItems] = useState<Item[]>([]);
  const { pathname } = useLocation();
  useEffect(() => setItems(withoutOldSuccesses), [pathname]);
  const add = useCallback((item: FlashbarProps.MessageDefinition) => {
    const id = String((lastId += 1));
    const dismiss = (): void => setItems((all) => all.filter((each) => each.id !== id));
    setItems((all) => [
      ...withoutOldSuccesses(all).slice(-3),
      { ...item, id, addedAt: Date.now(), dismissible: true, dismissLabel: 'Close this message', onDismiss: dismiss },
    ]);
  }, []);
  const notify = useMemo<Notify>(
    () => ({
      success: (content) => add({ type: 'success', content, ariaRole: 'status' }),
      failure: (error, what) =>
        add({
          type: 'error',
          ariaRole: 'alert',
          ...(what !== undefined && { header: what }),
          content: (
            <>
              {error instanceof Error ? error.message : String(error)}
              {error instanceof ApiFailure && error.requestId !== undefined && <> (request {error.requestId})</>}
            </>
          ),
        }),
    }),
    [add],
  );
  return (
    <NotifyContext value={notify}>
      <ItemsContext value={items}>{children}</ItemsContext>
    </NotifyContext>
  );
}

/** Shows messages above the content of the page. */
export const useNotify = (): Notify => useContext(NotifyContext);

/** The messages. */
export function Notifications(): ReactNode {
  return <Flashbar items={useContext(ItemsContext)} />;
}
