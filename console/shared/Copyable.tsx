import Box from '@cloudscape-design/components/box';
import CopyToClipboard from '@cloudscape-design/components/copy-to-clipboard';
import type { ReactNode } from 'react';
import styles from './Copyable.module.css';

const MESSAGES = { copySuccessText: 'Copied', copyErrorText: 'The browser does not allow copying' };

/** A text with a button that copies it. @param name what is copied, for those who hear the page */
export function Copyable({ text, name }: { text: string; name: string }): ReactNode {
  return <CopyToClipboard variant="inline" textToCopy={text} copyButtonAriaLabel={`Copy ${name}`} {...MESSAGES} />;
}

/** A document, such as a policy, with a button that copies it. */
export function CopyableCode({ text, name }: { text: string; name: string }): ReactNode {
  return (
    <div className={styles.code}>
      <div className={styles.button}>
        <CopyToClipboard copyButtonText="Copy" copyButtonAriaLabel={`Copy ${name}`} textToCopy={text} {...MESSAGES} />
      </div>
      <div className={styles.text} tabIndex={0} role="group" aria-label={name}>
        <Box variant="pre">{text}</Box>
      </div>
    </div>
  );
}
