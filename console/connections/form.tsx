import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import Form from '@cloudscape-design/components/form';
import FormField, { type FormFieldProps } from '@cloudscape-design/components/form-field';
import Input, { type InputProps } from '@cloudscape-design/components/input';
import Autosuggest from '@cloudscape-design/components/autosuggest';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useMutation } from '@tanstack/react-query';
import { createContext, type ReactNode, useContext, useRef } from 'react';
import { ApiFailure } from '../app/client.js';
import { Failure } from '../shared/Failure.js';
import { refreshConnections, useChoices } from './queries.js';
import { type Kind, KINDS } from './kinds.js';
import { REGION_SUGGESTIONS } from './regions.js';

/** What is wrong with which field. */
export type FieldErrors = Readonly<Record<string, string>>;

const ErrorsContext = createContext<FieldErrors>({});

/** The problems of a field and of the fields within it, such as `autoStart.runNames.0`. */
export function errorOf(errors: FieldErrors, field: string): string {
  return Object.entries(errors)
    .filter(([name]) => name === field || name.startsWith(`${field}.`))
    .map(([name, message]) => `${name === field ? '' : `${name.slice(field.length + 1)}: `}${message}`)
    .map((text) => text.charAt(0).toUpperCase() + text.slice(1))
    .join('. ');
}

/** A field of a form, with what the API says about it. */
export function Field({
  field,
  error,
  children,
  ...props
}: Omit<FormFieldProps, 'errorText'> & { field: string; error?: string }): ReactNode {
  const errors = useContext(ErrorsContext);
  return (
    <FormField {...props} errorText={error ?? errorOf(errors, field)}>
      {children}
    </FormField>
  );
}

interface TextFieldProps {
  field: string;
  label: ReactNode;
  description?: ReactNode;
  constraint?: ReactNode;
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  type?: InputProps.Type;
  inputMode?: InputProps['inputMode'];
  isDisabled?: boolean;
}

/** A line of text. */
export function TextField({
  field,
  label,
  description,
  constraint,
  value,
  onChange,
  placeholder,
  type,
  inputMode,
  isDisabled,
}: TextFieldProps): ReactNode {
  return (
    <Field field={field} label={label} description={description} constraintText={constraint}>
      <Input
        value={value}
        autoComplete={false}
        spellcheck={false}
        onChange={({ detail }) => onChange(detail.value)}
        {...(isDisabled === true && { disabled: true })}
        {...(placeholder !== undefined && { placeholder })}
        {...(type !== undefined && { type })}
        {...(inputMode !== undefined && { inputMode })}
      />
    </Field>
  );
}

/** A region: one of those that polony knows, or any other. */
export function RegionField({
  field,
  label,
  description,
  value,
  onChange,
  regions = REGION_SUGGESTIONS,
}: Omit<TextFieldProps, 'placeholder' | 'type'> & { regions?: readonly string[] }): ReactNode {
  return (
    <Field field={field} label={label} description={description}>
      <Autosuggest
        value={value}
        onChange={({ detail }) => onChange(detail.value)}
        options={regions.map((each) => ({ value: each }))}
        clearAriaLabel="Clear the region"
        enteredTextLabel={(text) => `Use: ${text}`}
        placeholder="us-west-2"
        empty="Type a region"
        filteringType="auto"
        expandToViewport
      />
    </Field>
  );
}

/** A choice among everything of a kind. */
export function ConnectionField({
  field,
  kind,
  label,
  description,
  value,
  onChange,
}: {
  field: string;
  kind: Kind;
  label: string;
  description?: ReactNode;
  value: string;
  onChange: (id: string) => void;
}): ReactNode {
  const choices = useChoices(kind);
  const options = (choices.data ?? []).map(({ id, name }) => ({ value: id, label: name }));
  const { noun, plural } = KINDS[kind];
  return (
    <Field field={field} label={label} description={description}>
      <Select
        selectedOption={value === '' ? null : (options.find((each) => each.value === value) ?? { value, label: value })}
        onChange={({ detail }) => onChange(detail.selectedOption.value ?? '')}
        options={options}
        placeholder={`Choose a ${noun}`}
        filteringType={options.length > 10 ? 'auto' : 'none'}
        filteringAriaLabel={`Find a ${noun}`}
        statusType={choices.isPending ? 'loading' : choices.isError ? 'error' : 'finished'}
        loadingText={`Loading the ${plural}`}
        errorText={`The ${plural} could not be loaded`}
        recoveryText="Try again"
        onLoadItems={() => choices.isError && void choices.refetch()}
        empty={`There is no ${noun} yet`}
        expandToViewport
      />
    </Field>
  );
}

const randomKey = (): string =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * Sends a form. The same body gets the same idempotency key, so that trying again after a lost answer creates nothing
 * twice. Only this page's memory has the body.
 */
export function useSave<Body, Saved>(
  save: (body: Body, idempotencyKey: string) => Promise<Saved>,
  onSaved: (saved: Saved) => void,
) {
  const last = useRef({ text: '', key: '' });
  return useMutation({
    mutationFn: (body: Body) => {
      const text = JSON.stringify(body);
      if (text !== last.current.text) last.current = { text, key: randomKey() };
      return save(body, last.current.key);
    },
    // Secrets do not stay in the page's memory.
    gcTime: 0,
    onSuccess: (saved) => {
      last.current = { text: '', key: '' };
      void refreshConnections();
      onSaved(saved);
    },
  });
}

export interface FormFrameProps {
  children: ReactNode;
  /** What the button says. */
  submit: string;
  /** What failed, where it fails. */
  what: string;
  error: unknown;
  isSaving: boolean;
  onSubmit: () => void;
  onCancel?: (() => void) | undefined;
  /** Buttons beside the main one. */
  actions?: ReactNode;
  /** What the page itself found, by field. */
  errors?: FieldErrors;
}

/** A form with the errors of the API: each at its field, and all of them with the id of the request below. */
export function FormFrame(props: FormFrameProps): ReactNode {
  const { children, submit, what, error, isSaving, onSubmit, onCancel, actions, errors = {} } = props;
  const ofApi = error instanceof ApiFailure ? error.fields : {};
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (!isSaving) onSubmit();
      }}
    >
      <Form
        actions={
          <SpaceBetween direction="horizontal" size="xs">
            {onCancel !== undefined && (
              <Button variant="link" formAction="none" onClick={onCancel}>
                Cancel
              </Button>
            )}
            {actions}
            <Button variant="primary" loading={isSaving} loadingText={`${submit}: in progress`}>
              {submit}
            </Button>
          </SpaceBetween>
        }
      >
        <SpaceBetween size="l">
          <ErrorsContext value={{ ...ofApi, ...errors }}>
            <SpaceBetween size="l">{children}</SpaceBetween>
          </ErrorsContext>
          {error != null && (
            <Box>
              <Failure error={error} what={what} />
            </Box>
          )}
        </SpaceBetween>
      </Form>
    </form>
  );
}

/** The fields of a body that differ from what they were. */
export function changedFields<Body extends object>(body: Body, before: Partial<Body>): Partial<Body> {
  return Object.fromEntries(
    Object.entries(body).filter(
      ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name as keyof Body]),
    ),
  ) as Partial<Body>;
}
