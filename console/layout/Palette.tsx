import Box from '@cloudscape-design/components/box';
import Input, { type InputProps } from '@cloudscape-design/components/input';
import Modal from '@cloudscape-design/components/modal';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { PAGES } from './navigation.js';
import styles from './Palette.module.css';

interface Choice {
  text: string;
  kind: string;
  href: string;
}

/** Waits until the reader stops typing. */
function useSettled(text: string): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), 200);
    return () => clearTimeout(timer);
  }, [text]);
  return settled;
}

/** What the text finds: pages, runs, and executions. */
function useChoices(text: string, isOpen: boolean): Choice[] {
  const { can } = useSession();
  const search = useSettled(text.trim());
  // Quotes keep what people type from being read as a filter.
  const filter = `"${search.replaceAll(/["\\]/g, ' ')}"`;
  const enabled = isOpen && search.length >= 2;
  const query = { filter, pageSize: 6 };
  const runs = useQuery({
    queryKey: ['runs', 'palette', search],
    queryFn: () => ask(api.GET('/v1/runs', { params: { query } })),
    enabled: enabled && can('runs:read'),
  });
  const executions = useQuery({
    queryKey: ['executions', 'palette', search],
    queryFn: () => ask(api.GET('/v1/executions', { params: { query } })),
    enabled: enabled && can('executions:read'),
  });
  const pages = PAGES.filter(
    (page) => page.needs.some((each) => can(each)) && page.text.toLowerCase().includes(text.trim().toLowerCase()),
  );
  return [
    ...pages.map((page) => ({ text: page.text, kind: 'Page', href: page.href })),
    ...(enabled ? (runs.data?.runs ?? []) : []).map(({ id, name }) => ({
      text: name,
      kind: 'Run',
      href: `/runs/${id}`,
    })),
    ...(enabled ? (executions.data?.executions ?? []) : []).map(({ id, name }) => ({
      text: name,
      kind: 'Execution',
      href: `/executions/${id}`,
    })),
  ];
}

/** Goes to a page, a run or an execution by its name. Ctrl-K or Cmd-K opens it. */
export function Palette(): ReactNode {
  const navigate = useNavigate();
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState('');
  const [selected, setSelected] = useState(0);
  const input = useRef<InputProps.Ref>(null);
  const choices = useChoices(text, isOpen);
  useEffect(() => {
    if (!isOpen) return;
    // After the dialog, which gives the focus to its button to close.
    const timer = setTimeout(() => input.current?.focus());
    return () => clearTimeout(timer);
  }, [isOpen]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        setText('');
        setSelected(0);
        setOpen(true);
      }
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  const at = Math.min(selected, choices.length - 1);
  const go = (choice: Choice | undefined): void => {
    if (choice === undefined) return;
    setOpen(false);
    void navigate({ to: choice.href });
  };
  return (
    <Modal visible={isOpen} onDismiss={() => setOpen(false)} header="Go to" closeAriaLabel="Close">
      <Input
        ref={input}
        type="search"
        value={text}
        placeholder="A page, or the name of a run or an execution"
        ariaLabel="Go to a page, a run or an execution"
        controlId="palette-input"
        nativeInputAttributes={{
          role: 'combobox',
          'aria-expanded': true,
          'aria-controls': 'palette-choices',
          'aria-activedescendant': at >= 0 ? `palette-choice-${at}` : undefined,
        }}
        onChange={({ detail }) => {
          setText(detail.value);
          setSelected(0);
        }}
        onKeyDown={(event) => {
          const { key } = event.detail;
          if (key === 'ArrowDown') setSelected(Math.min(at + 1, choices.length - 1));
          else if (key === 'ArrowUp') setSelected(Math.max(at - 1, 0));
          else if (key === 'Enter') go(choices[at]);
          else return;
          event.preventDefault();
        }}
      />
      <ul id="palette-choices" role="listbox" aria-label="Results" className={styles.choices}>
        {choices.map((choice, index) => (
          <li
            key={choice.href}
            id={`palette-choice-${index}`}
            role="option"
            aria-selected={index === at}
            className={styles.choice}
            onClick={() => go(choice)}
          >
            <Box variant="span">{choice.text}</Box>
            <Box variant="small" color="text-body-secondary">
              {choice.kind}
            </Box>
          </li>
        ))}
      </ul>
      {choices.length === 0 && (
        <Box color="text-body-secondary" padding={{ top: 's' }}>
          Nothing has this name.
        </Box>
      )}
    </Modal>
  );
}
