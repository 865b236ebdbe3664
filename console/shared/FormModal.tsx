import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Modal, { type ModalProps } from '@cloudscape-design/components/modal';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { type ReactNode, useId } from 'react';
import { ApiFailure } from '../app/client.js';
import { Failure } from './Failure.js';
import type { Action } from './useAction.js';

export interface FormModalProps {
  title: string;
  /** What the button says, such as "Create". */
  submit: string;
  action: Pick<Action<[], unknown>, 'isPending' | 'error'>;
  onSubmit: () => void;
  onClose: () => void;
  /** The fields that show their own error, by {@link fieldError}. Errors of other fields are shown below the form. */
  fields: readonly string[];
  isDisabled?: boolean;
  size?: ModalProps['size'];
  children: ReactNode;
}

/** What the API says about a field of a form, or about a part of it, such as `scopes.0` of `scopes`. */
export function fieldError(error: unknown, field: string): string | undefined {
  if (!(error instanceof ApiFailure)) return undefined;
  const found = Object.entries(error.fields).filter(([name]) => name === field || name.startsWith(`${field}.`));
  if (found.length === 0) return undefined;
  return found.map(([, message]) => message.replace(new RegExp(`^${field}(\\.\\d+)?:? `), '')).join('. ');
}

/** Whether fields of the form show the whole error. */
function isShownAtFields(error: unknown, fields: readonly string[]): boolean {
  if (!(error instanceof ApiFailure)) return false;
  const names = Object.keys(error.fields);
  return names.length > 0 && names.every((name) => fields.some((each) => name === each || name.startsWith(`${each}.`)));
}

/** A form in a dialog. The key Enter sends it. Show it only while it is open. */
export function FormModal(props: FormModalProps): ReactNode {
  const { title, submit, action, onSubmit, onClose, fields, isDisabled = false, size = 'medium', children } = props;
  const id = useId();
  const { error, isPending } = action;
  return (
    <Modal
      visible
      size={size}
      onDismiss={onClose}
      closeAriaLabel="Close"
      header={title}
      footer={
        <Box float="right">
          <SpaceBetween direction="horizontal" size="xs">
            <Button variant="link" onClick={onClose}>
              Cancel
            </Button>
            <Button variant="primary" loading={isPending} disabled={isDisabled} form={id} formAction="submit">
              {submit}
            </Button>
          </SpaceBetween>
        </Box>
      }
    >
      <form
        id={id}
        onSubmit={(event) => {
          event.preventDefault();
          // React passes the events of dialogs to the forms that opened them.
          event.stopPropagation();
          if (!isDisabled && !isPending) onSubmit();
        }}
      >
        <SpaceBetween size="m">
          {children}
          {error !== undefined && !isShownAtFields(error, fields) && (
            <Failure error={error} what={`${submit} failed`} />
          )}
        </SpaceBetween>
      </form>
    </Modal>
  );
}
