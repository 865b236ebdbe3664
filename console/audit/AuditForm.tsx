import Autosuggest from '@cloudscape-design/components/autosuggest';
import Button from '@cloudscape-design/components/button';
import DateRangePicker, { type DateRangePickerProps } from '@cloudscape-design/components/date-range-picker';
import FormField from '@cloudscape-design/components/form-field';
import Grid from '@cloudscape-design/components/grid';
import Input from '@cloudscape-design/components/input';
import SpaceBetween from '@cloudscape-design/components/space-between';
import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { useSession } from '../auth/session.js';
import { fieldError } from '../shared/FormModal.js';
import type { AuditSearch, AuditText } from './search.js';

const HOUR_MS = 3_600_000;
const UNITS_MS: Readonly<Partial<Record<DateRangePickerProps.TimeUnit, number>>> = {
  hour: HOUR_MS,
  day: 24 * HOUR_MS,
  week: 7 * 24 * HOUR_MS,
};

const RELATIVE: readonly DateRangePickerProps.RelativeOption[] = [
  { key: 'hour', amount: 1, unit: 'hour', type: 'relative' },
  { key: 'day', amount: 1, unit: 'day', type: 'relative' },
  { key: 'week', amount: 7, unit: 'day', type: 'relative' },
  { key: 'month', amount: 30, unit: 'day', type: 'relative' },
];

/** The times of a range. A time ago becomes a fixed time, so that a shared address shows the same. */
function timesOf(range: DateRangePickerProps.Value | null): Pick<AuditSearch, 'since' | 'until'> {
  if (range === null) return {};
  if (range.type === 'absolute')
    return { since: new Date(range.startDate).toISOString(), until: new Date(range.endDate).toISOString() };
  const size = UNITS_MS[range.unit] ?? 24 * HOUR_MS;
  return { since: new Date(Date.now() - range.amount * size).toISOString() };
}

const isTime = (text: string | undefined): text is string => text !== undefined && !Number.isNaN(Date.parse(text));

/** The range of a search. Without an end, it reaches until now. */
function rangeOf({ since, until }: AuditSearch): DateRangePickerProps.AbsoluteValue | null {
  if (!isTime(since) && !isTime(until)) return null;
  return {
    type: 'absolute',
    startDate: new Date(isTime(since) ? since : 0).toISOString(),
    endDate: (isTime(until) ? new Date(until) : new Date()).toISOString(),
  };
}

export interface AuditFormProps {
  search: AuditSearch;
  /** Actions that occur, for suggestions. */
  actions: readonly string[];
  /** What the API said about the search. */
  error: unknown;
  onSearch: (search: Record<AuditText, string | undefined>) => void;
  onClear: () => void;
}

/** Searches by exact values. The key Enter in a field searches. */
export function AuditForm({ search, actions, error, onSearch, onClear }: AuditFormProps): ReactNode {
  const { can } = useSession();
  const [callerId, setCallerId] = useState(search.callerId ?? '');
  const [action, setAction] = useState(search.action ?? '');
  const [resourceId, setResourceId] = useState(search.resourceId ?? '');
  const [requestId, setRequestId] = useState(search.requestId ?? '');
  const keys = useQuery({
    queryKey: ['keys', 'names'],
    queryFn: () => ask(api.GET('/v1/api-keys', { params: { query: { pageSize: 1000 } } })),
    enabled: can('keys:read'),
    staleTime: 60_000,
  });
  const orNothing = (text: string): string | undefined => (text.trim() === '' ? undefined : text.trim());
  const send = (times: Pick<AuditSearch, 'since' | 'until'>): void =>
    onSearch({
      callerId: orNothing(callerId),
      action: orNothing(action),
      resourceId: orNothing(resourceId),
      requestId: orNothing(requestId),
      since: times.since,
      until: times.until,
    });
  const timeError = fieldError(error, 'since') ?? fieldError(error, 'until');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        send(search);
      }}
    >
      <SpaceBetween size="s">
        <Grid
          gridDefinition={[
            { colspan: { default: 12, xs: 6, m: 3 } },
            { colspan: { default: 12, xs: 6, m: 3 } },
            { colspan: { default: 12, xs: 6, m: 3 } },
            { colspan: { default: 12, xs: 6, m: 3 } },
          ]}
        >
          <FormField stretch label="Caller" errorText={fieldError(error, 'callerId')}>
            <Autosuggest
              value={callerId}
              clearAriaLabel="Clear the caller"
              expandToViewport
              placeholder="ID, or the name of a key"
              enteredTextLabel={(text) => `Use the ID ${text}`}
              empty="No suggestions: type an ID"
              options={(keys.data?.apiKeys ?? []).map(({ id, name }) => ({ value: id, label: name, description: id }))}
              onChange={({ detail }) => setCallerId(detail.value)}
            />
          </FormField>
          <FormField stretch label="Action" errorText={fieldError(error, 'action')}>
            <Autosuggest
              value={action}
              clearAriaLabel="Clear the action"
              expandToViewport
              placeholder="Such as AuthService_CreateApiKey"
              enteredTextLabel={(text) => `Use ${text}`}
              empty="No suggestions: type the name of an action"
              options={actions.map((value) => ({ value }))}
              onChange={({ detail }) => setAction(detail.value)}
            />
          </FormField>
          <FormField stretch label="Resource" errorText={fieldError(error, 'resourceId')}>
            <Input
              type="search"
              value={resourceId}
              clearAriaLabel="Clear the resource"
              placeholder="ID of what it was done to"
              onChange={({ detail }) => setResourceId(detail.value)}
            />
          </FormField>
          <FormField stretch label="Request" errorText={fieldError(error, 'requestId')}>
            <Input
              type="search"
              value={requestId}
              clearAriaLabel="Clear the request"
              placeholder="ID that an error shows"
              onChange={({ detail }) => setRequestId(detail.value)}
            />
          </FormField>
        </Grid>
        <FormField label="Time" stretch errorText={timeError}>
          <SpaceBetween direction="horizontal" size="xs" alignItems="end">
            <DateRangePicker
              value={rangeOf(search)}
              relativeOptions={RELATIVE}
              customRelativeRangeUnits={['hour', 'day', 'week']}
              placeholder="All times"
              expandToViewport
              isValidRange={(range) =>
                range?.type === 'absolute' && (range.startDate === '' || range.endDate === '')
                  ? { valid: false, errorMessage: 'Choose the first and the last day.' }
                  : { valid: true }
              }
              onChange={({ detail }) => send(timesOf(detail.value))}
              i18nStrings={RANGE_TEXTS}
            />
            <Button iconName="search">Search</Button>
            {Object.keys(search).length > 0 && (
              <Button variant="link" formAction="none" onClick={onClear}>
                Clear
              </Button>
            )}
          </SpaceBetween>
        </FormField>
      </SpaceBetween>
    </form>
  );
}

const RANGE_TEXTS: DateRangePickerProps.I18nStrings = {
  ariaLabel: 'Time range',
  modeSelectionLabel: 'How to choose',
  relativeModeTitle: 'Until now',
  absoluteModeTitle: 'From and to',
  relativeRangeSelectionHeading: 'Choose',
  cancelButtonLabel: 'Cancel',
  clearButtonLabel: 'All times',
  applyButtonLabel: 'Apply',
  formatRelativeRange: ({ amount, unit }) => (amount === 1 ? `Last ${unit}` : `Last ${amount} ${unit}s`),
  formatUnit: (unit, amount) => (amount === 1 ? unit : `${unit}s`),
  customRelativeRangeOptionLabel: 'Another time',
  customRelativeRangeOptionDescription: 'Any number of hours, days or weeks',
  customRelativeRangeDurationLabel: 'Number',
  customRelativeRangeDurationPlaceholder: 'Such as 3',
  customRelativeRangeUnitLabel: 'Unit',
  startDateLabel: 'First day',
  startTimeLabel: 'From',
  endDateLabel: 'Last day',
  endTimeLabel: 'To',
  dateTimeConstraintText: 'Days as YYYY/MM/DD, times as 24 hours. Your time zone.',
  isoDateTimeConstraintText: 'Days as YYYY-MM-DD, times as 24 hours. Your time zone.',
  slashedDateTimeConstraintText: 'Days as YYYY/MM/DD, times as 24 hours. Your time zone.',
  errorIconAriaLabel: 'Error',
  todayAriaLabel: 'Today',
  nextMonthAriaLabel: 'Next month',
  previousMonthAriaLabel: 'Previous month',
  renderSelectedAbsoluteRangeAriaLive: (start, end) => `From ${start} to ${end}`,
};
