import Checkbox from '@cloudscape-design/components/checkbox';
import DatePicker, { type DatePickerProps } from '@cloudscape-design/components/date-picker';
import FormField from '@cloudscape-design/components/form-field';
import SpaceBetween from '@cloudscape-design/components/space-between';
import TimeInput from '@cloudscape-design/components/time-input';
import { type ReactNode, useState } from 'react';
import { api, ask } from '../app/client.js';
import { fieldError, FormModal } from '../shared/FormModal.js';
import { useAction } from '../shared/useAction.js';

interface Moment {
  date: string;
  time: string;
}

/** A time in the reader's time zone; undefined without a day. */
const toIso = ({ date, time }: Moment): string | undefined => {
  const moment = new Date(`${date}T${time === '' ? '00:00' : time}`);
  return date === '' || Number.isNaN(moment.getTime()) ? undefined : moment.toISOString();
};

const DATE_TEXTS: DatePickerProps.I18nStrings = {
  todayAriaLabel: 'Today',
  nextMonthAriaLabel: 'Next month',
  previousMonthAriaLabel: 'Previous month',
};

function MomentField(props: {
  label: string;
  value: Moment;
  error: string | undefined;
  onChange: (value: Moment) => void;
}): ReactNode {
  const { label, value, error, onChange } = props;
  return (
    <FormField label={label} constraintText="YYYY/MM/DD and hours:minutes, in your time zone" errorText={error}>
      <SpaceBetween direction="horizontal" size="xs">
        <DatePicker
          ariaLabel={`${label}: day`}
          value={value.date}
          placeholder="YYYY/MM/DD"
          openCalendarAriaLabel={(date) => `${label}: choose the day${date === null ? '' : `, now ${date}`}`}
          i18nStrings={DATE_TEXTS}
          onChange={({ detail }) => onChange({ ...value, date: detail.value })}
        />
        <TimeInput
          ariaLabel={`${label}: time`}
          format="hh:mm"
          placeholder="hh:mm"
          value={value.time}
          onChange={({ detail }) => onChange({ ...value, time: detail.value })}
        />
      </SpaceBetween>
    </FormField>
  );
}

export interface ReplayDialogProps {
  webhookId: string;
  onDone: (replayed: number) => void;
  onClose: () => void;
}

/** Sends the events of a time range again, or those of it that polony gave up. */
export function ReplayDialog({ webhookId, onDone, onClose }: ReplayDialogProps): ReactNode {
  const [since, setSince] = useState<Moment>({ date: '', time: '' });
  const [until, setUntil] = useState<Moment>({ date: '', time: '' });
  const [onlyFailed, setOnlyFailed] = useState(true);
  const [from, to] = [toIso(since), toIso(until)];
  const replay = useAction(async () => {
    const { replayed } = await ask(
      api.POST('/v1/webhooks/{id}/replay', {
        params: { path: { id: webhookId } },
        body: {
          onlyFailed,
          ...(from !== undefined && { since: from }),
          ...(to !== undefined && { until: to }),
        },
      }),
    );
    onDone(replayed);
  });
  return (
    <FormModal
      title="Replay events"
      submit="Replay"
      action={replay}
      onSubmit={() => void replay.run()}
      onClose={onClose}
      fields={['since', 'until']}
      isDisabled={!onlyFailed && from === undefined}
    >
      <span>
        polony sends the events again with the same webhook-id, so that the receiver can recognise those that it has.
      </span>
      <Checkbox
        checked={onlyFailed}
        onChange={({ detail }) => setOnlyFailed(detail.checked)}
        description="Otherwise also those that the receiver has accepted, which needs a beginning."
      >
        Only deliveries that polony gave up
      </Checkbox>
      <MomentField label="Events from" value={since} onChange={setSince} error={fieldError(replay.error, 'since')} />
      <MomentField label="Events until" value={until} onChange={setUntil} error={fieldError(replay.error, 'until')} />
    </FormModal>
  );
}
