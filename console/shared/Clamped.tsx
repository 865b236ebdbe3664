import type { ReactNode } from 'react';
import styles from './Clamped.module.css';

/** The first lines of a text in a list. Hovering shows all of it, and so does the page of the thing. */
export function Clamped({ text }: { text: string }): ReactNode {
  return (
    <span className={styles.text} title={text}>
      {text}
    </span>
  );
}
