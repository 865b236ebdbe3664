import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Modal from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Spinner from '@cloudscape-design/components/spinner';
import Tabs from '@cloudscape-design/components/tabs';
import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useMemo } from 'react';
import { Failure } from '../shared/Failure.js';
import { formatBytes, formatNumber } from '../shared/format.js';
import { Time } from '../shared/Time.js';
import styles from './FilePreview.module.css';
import { indentJson } from './json.js';
import { isReport, nameOf } from './paths.js';
import { hostsNeeded } from './report.js';
import { askPreview, type FilePreview, type FileSource, reportAddress } from './source.js';
import { TAB_TEXTS } from '../shared/tabs.js';
import { readCsv } from './tables.js';

/** Most rows of a table that the page shows. */
const MOST_ROWS = 500;

function TextView({ text, name }: { text: string; name: string }): ReactNode {
  return (
    <div className={styles.scroll} tabIndex={0} role="group" aria-label={`Content of ${name}`}>
      <pre className={styles.text}>{text}</pre>
    </div>
  );
}

function TableView({ text, name }: { text: string; name: string }): ReactNode {
  const { rows, hasMore } = useMemo(() => readCsv(text, MOST_ROWS), [text]);
  return (
    <SpaceBetween size="xs">
      <div className={styles.scroll} tabIndex={0} role="group" aria-label={`Content of ${name}`}>
        <table className={styles.table} aria-label={name}>
          <tbody>
            {rows.map((row, at) => (
              <tr key={at}>
                <th scope="row" className={styles.number}>
                  {at + 1}
                </th>
                {row.map((cell, column) => (
                  <td key={column}>{cell}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {hasMore && <Box variant="small">The first {formatNumber(MOST_ROWS)} rows. Download the file to see all.</Box>}
    </SpaceBetween>
  );
}

function JsonView({ text, name }: { text: string; name: string }): ReactNode {
  const indented = useMemo(() => indentJson(text), [text]);
  return <TextView text={indented ?? text} name={name} />;
}

function Content({ preview, name }: { preview: FilePreview; name: string }): ReactNode {
  const { kind, content, contentType } = preview;
  if (kind === 'image')
    return (
      <div className={styles.scroll}>
        <img className={styles.image} alt={name} src={`data:${contentType};base64,${content}`} />
      </div>
    );
  if (content === '') return <Box color="text-body-secondary">The file is empty.</Box>;
  if (kind === 'csv')
    return (
      <Tabs
        variant="default"
        ariaLabel="How to show the file"
        i18nStrings={TAB_TEXTS}
        tabs={[
          { id: 'table', label: 'Table', content: <TableView text={content} name={name} /> },
          { id: 'text', label: 'Text', content: <TextView text={content} name={name} /> },
        ]}
      />
    );
  if (kind === 'json') return <JsonView text={content} name={name} />;
  return <TextView text={content} name={name} />;
}

function Facts({ preview }: { preview: FilePreview }): ReactNode {
  return (
    <Box color="text-body-secondary">
      {formatBytes(preview.size)}, changed <Time value={preview.lastModified} />
      {preview.isTruncated && '. This is the beginning: download the file to see all.'}
    </Box>
  );
}

function Report({ html, name, address }: { html: string; name: string; address: string }): ReactNode {
  const hosts = hostsNeeded(html);
  return (
    <SpaceBetween size="xs">
      {hosts.length > 0 && (
        <Alert type="info" header="Parts of this report can be missing here">
          It loads files from {hosts.join(', ')}. polony does not let reports load anything, because they could send
          your data to others. Download the report to see all of it.
        </Alert>
      )}
      <iframe
        className={styles.report}
        title={`Report ${name}`}
        sandbox="allow-scripts"
        referrerPolicy="no-referrer"
        src={address}
      />
    </SpaceBetween>
  );
}

export interface FilePreviewDialogProps {
  source: FileSource;
  path: string;
  onDownload: () => void;
  isDownloading: boolean;
  onClose: () => void;
}

/** Shows a text, a table, an image or a report. Reports run in a frame of their own, without access to this page. */
export function FilePreviewDialog(props: FilePreviewDialogProps): ReactNode {
  const { source, path, onDownload, isDownloading, onClose } = props;
  const name = nameOf(path);
  const preview = useQuery({
    queryKey: ['file-preview', source.kind, source.id, path],
    queryFn: () => askPreview(source, path),
    // Up to a megabyte for each file that somebody looks at.
    gcTime: 0,
    refetchOnWindowFocus: false,
    staleTime: Infinity,
  });
  const { data } = preview;
  const content = data !== undefined && <Content preview={data} name={name} />;
  return (
    <Modal
      visible
      size="max"
      header={name}
      closeAriaLabel="Close"
      onDismiss={onClose}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="download" loading={isDownloading} onClick={onDownload}>
              Download
            </Button>
            <Button variant="primary" onClick={onClose}>
              Close
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <SpaceBetween size="s">
        {preview.isPending && (
          <Box textAlign="center" padding="l">
            <Spinner size="large" /> Loading the file
          </Box>
        )}
        {preview.isError && (
          <Failure error={preview.error} what="The file cannot be shown" onRetry={() => void preview.refetch()} />
        )}
        {data !== undefined && <Facts preview={data} />}
        {data !== undefined && !isReport(path) && content}
        {data !== undefined && isReport(path) && (
          <Tabs
            ariaLabel="How to show the file"
            i18nStrings={TAB_TEXTS}
            tabs={[
              {
                id: 'report',
                label: 'Report',
                content: <Report html={data.content} name={name} address={reportAddress(source, path)} />,
              },
              { id: 'source', label: 'Source', content },
            ]}
          />
        )}
      </SpaceBetween>
    </Modal>
  );
}
