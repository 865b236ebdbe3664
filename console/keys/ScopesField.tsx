import type { ScopeAction } from '../../domain/auth/scopes.js';
import Autosuggest from '@cloudscape-design/components/autosuggest';
import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ButtonDropdown from '@cloudscape-design/components/button-dropdown';
import FormField from '@cloudscape-design/components/form-field';
import Grid from '@cloudscape-design/components/grid';
import Input from '@cloudscape-design/components/input';
import Select from '@cloudscape-design/components/select';
import SpaceBetween from '@cloudscape-design/components/space-between';
import Alert from '@cloudscape-design/components/alert';
import type { ReactNode } from 'react';
import { useSession } from '../auth/session.js';
import {
  canHaveId,
  canHavePrefix,
  readChoice,
  SCOPE_PRESETS,
  SCOPE_RESOURCES,
  type ScopeChoice,
  writeChoice,
} from './scopes.js';
import { useResources } from './useResources.js';

/** Scopes in a form: all of them, or a list. */
export type ScopesValue = 'all' | readonly ScopeChoice[];

/** The scopes as the API reads them. */
export const writeScopes = (value: ScopesValue): string[] =>
  value === 'all' ? ['*'] : [...new Set(value.map(writeChoice))];

export interface ScopesFieldProps {
  value: ScopesValue;
  onChange: (value: ScopesValue) => void;
  /** What the API says about the scope at a position of {@link writeScopes}. */
  errorOf: (at: number) => string | undefined;
  /** What the API says about the scopes as a whole. */
  error: string | undefined;
}

const FIRST: ScopeChoice = { resource: 'runs', action: 'read', id: '', prefix: '' };

/** Chooses what a key may do. Only what the reader may do can be given. */
export function ScopesField({ value, onChange, errorOf, error }: ScopesFieldProps): ReactNode {
  const { can, canGive } = useSession();
  const add = (scopes: readonly string[]): void => {
    if (scopes.includes('*')) return onChange('all');
    const choices = value === 'all' ? [] : value;
    const texts = new Set(choices.map(writeChoice));
    onChange([...choices, ...scopes.filter((each) => !texts.has(each)).flatMap((each) => readChoice(each) ?? [])]);
  };
  const presets = SCOPE_PRESETS.filter(({ scopes }) => scopes.every(canGive));
  const choices = value === 'all' ? [] : value;
  const written = writeScopes(value);
  return (
    <FormField
      stretch
      label="Scopes"
      description="What the key may do. You can give only what you may do yourself."
      errorText={error}
    >
      <SpaceBetween size="s">
        {value === 'all' && (
          <Alert
            type="warning"
            action={<Button onClick={() => onChange([])}>Choose scopes instead</Button>}
            header="Everything"
          >
            Whoever has this key can do all that polony can do.
          </Alert>
        )}
        {choices.map((choice, at) => (
          <ScopeRow
            key={at}
            choice={choice}
            number={at + 1}
            mayGive={(scope) => can(scope as ScopeAction)}
            error={errorOf(written.indexOf(writeChoice(choice)))}
            onChange={(next) => onChange(choices.map((each, index) => (index === at ? next : each)))}
            onRemove={() => onChange(choices.filter((_, index) => index !== at))}
          />
        ))}
        {value !== 'all' && (
          <SpaceBetween direction="horizontal" size="xs">
            <Button iconName="add-plus" formAction="none" onClick={() => onChange([...choices, FIRST])}>
              Add a scope
            </Button>
            {presets.length > 0 && (
              <ButtonDropdown
                items={presets.map(({ id, text, description }) => ({ id, text, secondaryText: description }))}
                onItemClick={({ detail }) => add(presets.find(({ id }) => id === detail.id)?.scopes ?? [])}
                expandToViewport
              >
                Add those of
              </ButtonDropdown>
            )}
          </SpaceBetween>
        )}
        {value !== 'all' && written.length > 0 && (
          <Box variant="small" color="text-body-secondary">
            {written.join(', ')}
          </Box>
        )}
      </SpaceBetween>
    </FormField>
  );
}

interface ScopeRowProps {
  choice: ScopeChoice;
  number: number;
  mayGive: (scope: string) => boolean;
  error: string | undefined;
  onChange: (choice: ScopeChoice) => void;
  onRemove: () => void;
}

function ScopeRow({ choice, number, mayGive, error, onChange, onRemove }: ScopeRowProps): ReactNode {
  const { resource, action, id, prefix } = choice;
  const { resources, isLoading } = useResources(resource, canHaveId(choice) && mayGive(`${resource}:read`));
  const known = SCOPE_RESOURCES.find((each) => each.resource === resource);
  const resourceOptions = SCOPE_RESOURCES.filter((each) =>
    each.actions.some((one) => mayGive(`${each.resource}:${one.action}`)),
  ).map((each) => ({ value: each.resource, label: each.text }));
  const actionOptions = [
    ...(known?.actions ?? [])
      .filter((one) => mayGive(`${resource}:${one.action}`))
      .map((one) => ({ value: one.action, label: one.action, description: one.text })),
    ...(known !== undefined && known.actions.length > 1
      ? [{ value: '*', label: 'all', description: `everything of ${known.text.toLowerCase()}` }]
      : []),
  ];
  const change = (part: Partial<ScopeChoice>): void => onChange({ ...choice, ...part });
  return (
    <FormField stretch errorText={error}>
      <Grid
        gridDefinition={[
          { colspan: { default: 6, xs: 3 } },
          { colspan: { default: 6, xs: 3 } },
          { colspan: { default: 10, xs: 5 } },
          { colspan: { default: 2, xs: 1 } },
        ]}
      >
        <Select
          ariaLabel={`Resource of scope ${number}`}
          expandToViewport
          selectedOption={resourceOptions.find((each) => each.value === resource) ?? null}
          options={resourceOptions}
          onChange={({ detail }) => {
            const next = detail.selectedOption.value ?? resource;
            const actions = SCOPE_RESOURCES.find((each) => each.resource === next)?.actions ?? [];
            const first = actions.find((one) => mayGive(`${next}:${one.action}`))?.action ?? '*';
            onChange({ resource: next, action: first, id: '', prefix: '' });
          }}
        />
        <Select
          ariaLabel={`Action of scope ${number}`}
          expandToViewport
          selectedOption={actionOptions.find((each) => each.value === action) ?? null}
          options={actionOptions}
          onChange={({ detail }) => change({ action: detail.selectedOption.value ?? action })}
        />
        {canHaveId(choice) ? (
          <SpaceBetween size="xxs">
            <Autosuggest
              ariaLabel={`Only this one, of scope ${number}`}
              expandToViewport
              placeholder={`All ${known?.text.toLowerCase() ?? ''}, or one by its name or ID`}
              value={id}
              clearAriaLabel={`Clear the choice of scope ${number}`}
              enteredTextLabel={(text) => `Use the ID ${text}`}
              statusType={isLoading ? 'loading' : 'finished'}
              loadingText="Loading names"
              empty="No suggestions: type an ID"
              options={resources.map((each) => ({ value: each.id, label: each.name, description: each.id }))}
              onChange={({ detail }) => change({ id: detail.value })}
            />
            {canHavePrefix(choice) && (
              <Input
                ariaLabel={`Only this folder, of scope ${number}`}
                placeholder="All folders, or one such as panels/"
                value={prefix}
                onChange={({ detail }) => change({ prefix: detail.value })}
              />
            )}
          </SpaceBetween>
        ) : (
          <Box color="text-body-secondary" padding={{ top: 'xs' }}>
            Cannot be narrowed
          </Box>
        )}
        <Button
          iconName="remove"
          variant="icon"
          formAction="none"
          ariaLabel={`Remove scope ${number}`}
          onClick={onRemove}
        />
      </Grid>
    </FormField>
  );
}
