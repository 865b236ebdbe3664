import PropertyFilter, { type PropertyFilterProps } from '@cloudscape-design/components/property-filter';
import { type ReactNode, useEffect, useRef, useState } from 'react';
import { type Condition, formatConditions, parseConditions } from './filterText.js';

/** A keyword of the filter language. */
export interface FilterKeyword {
  keyword: string;
  label: string;
  kind: 'text' | 'enum' | 'number' | 'date' | 'boolean';
  /** All values, where there are few; empty otherwise. */
  values: readonly string[];
  /** Whether the API lists the values that occur. */
  listsValues: boolean;
}

type Token = PropertyFilterProps.Token;

/** Operators of the page: `:` is "contains", `=` is "is exactly". The API writes the second with quotes. */
const OPERATORS: Readonly<Record<FilterKeyword['kind'], PropertyFilterProps.FilteringProperty['operators']>> = {
  text: [':', '!:', '=', '!='],
  enum: [
    { operator: '=', tokenType: 'enum' },
    { operator: '!=', tokenType: 'enum' },
  ],
  boolean: ['=', '!='],
  number: ['>=', '<=', '>', '<', '=', '!='],
  date: ['>=', '<=', '>', '<', '=', '!='],
};

function toToken(condition: Condition, keywords: readonly FilterKeyword[]): Token {
  const { keyword, operator, values } = condition;
  const [first] = values;
  if (keyword === undefined) return { operator: ':', value: first?.text ?? '' };
  const kind = keywords.find((each) => each.keyword === keyword)?.kind ?? 'text';
  if (kind === 'enum')
    return { propertyKey: keyword, operator: operator === ':' ? '=' : operator, value: values.map(({ text }) => text) };
  const value = values.map(({ text }) => text).join(',');
  if (kind !== 'text') return { propertyKey: keyword, operator: operator === ':' ? '=' : operator, value };
  const isExact = first?.isQuoted ?? false;
  const isNegative = operator === '!=';
  return { propertyKey: keyword, operator: isExact ? (isNegative ? '!=' : '=') : isNegative ? '!:' : ':', value };
}

function toCondition({ propertyKey, operator, value }: Token, keywords: readonly FilterKeyword[]): Condition {
  const texts = Array.isArray(value) ? (value as string[]) : [String(value)];
  if (propertyKey === undefined) return { operator: ':', values: texts.map((text) => ({ text, isQuoted: false })) };
  const isText = keywords.find((each) => each.keyword === propertyKey)?.kind === 'text';
  const isQuoted = isText && (operator === '=' || operator === '!=');
  const written = operator === '=' ? ':' : operator === '!:' ? '!=' : operator;
  return { keyword: propertyKey, operator: written, values: texts.map((text) => ({ text, isQuoted })) };
}

const isEditable = (element: Element | null): boolean =>
  element instanceof HTMLElement && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));

export interface FilterBarProps {
  /** Such as "runs". */
  plural: string;
  filter: string;
  onChange: (filter: string) => void;
  keywords: readonly FilterKeyword[];
  /** Values that occur, for suggestions. */
  loadValues?: (keyword: string, prefix: string) => Promise<readonly string[]>;
  countText?: string;
}

/** The filter of a list, with suggestions. The key `/` goes there. */
export function FilterBar({ plural, filter, onChange, keywords, loadValues, countText }: FilterBarProps): ReactNode {
  const ref = useRef<PropertyFilterProps.Ref>(null);
  const [options, setOptions] = useState<PropertyFilterProps.FilteringOption[]>([]);
  const [status, setStatus] = useState<PropertyFilterProps['filteringStatusType']>('finished');
  const request = useRef(0);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== '/' || isEditable(document.activeElement)) return;
      event.preventDefault();
      ref.current?.focus();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  const loadOptions = (keyword: string | undefined, text: string): void => {
    const known = keywords.find((each) => each.keyword === keyword);
    if (known?.listsValues !== true || known.values.length > 0 || loadValues === undefined) return;
    const own = (request.current += 1);
    setStatus('loading');
    loadValues(known.keyword, text).then(
      (values) => {
        if (own !== request.current) return;
        setOptions(values.map((value) => ({ propertyKey: known.keyword, value })));
        setStatus('finished');
      },
      () => own === request.current && setStatus('error'),
    );
  };
  const fixed = keywords.flatMap(({ keyword, values }) => values.map((value) => ({ propertyKey: keyword, value })));
  return (
    <PropertyFilter
      ref={ref}
      query={{ operation: 'and', tokens: parseConditions(filter).map((each) => toToken(each, keywords)) }}
      onChange={({ detail }) => onChange(formatConditions(detail.tokens.map((each) => toCondition(each, keywords))))}
      hideOperations
      filteringProperties={keywords.map(({ keyword, label, kind }) => ({
        key: keyword,
        propertyLabel: label,
        groupValuesLabel: `Values of ${label}`,
        operators: OPERATORS[kind],
        defaultOperator: kind === 'text' ? ':' : kind === 'number' || kind === 'date' ? '>=' : '=',
      }))}
      filteringOptions={[...fixed, ...options]}
      filteringStatusType={status}
      filteringLoadingText="Loading values"
      filteringErrorText="The values could not be loaded"
      filteringEmpty="No suggestions: type a value"
      onLoadItems={({ detail }) => loadOptions(detail.filteringProperty?.key, detail.filteringText)}
      {...(countText !== undefined && { countText })}
      filteringPlaceholder={`Filter ${plural} (press /)`}
      filteringAriaLabel={`Filter ${plural}`}
      i18nStrings={{
        ...I18N,
        removeTokenButtonAriaLabel: ({ propertyKey, operator, value }) =>
          `Remove the condition ${propertyKey ?? 'text'} ${operator} ${String(value)}`,
      }}
    />
  );
}

const I18N: PropertyFilterProps.I18nStrings = {
  dismissAriaLabel: 'Close',
  clearFiltersText: 'Clear',
  groupValuesText: 'Values',
  groupPropertiesText: 'Properties',
  operatorsText: 'Operators',
  operatorContainsText: 'contains',
  operatorDoesNotContainText: 'does not contain',
  operatorEqualsText: 'is',
  operatorDoesNotEqualText: 'is not',
  operatorGreaterText: 'more than',
  operatorGreaterOrEqualText: 'at least',
  operatorLessText: 'less than',
  operatorLessOrEqualText: 'at most',
  editTokenHeader: 'Change the condition',
  propertyText: 'Property',
  operatorText: 'Operator',
  valueText: 'Value',
  cancelActionText: 'Cancel',
  applyActionText: 'Apply',
  allPropertiesLabel: 'All texts',
  enteredTextLabel: (text) => `Use: "${text}"`,
  tokenLimitShowMore: 'Show more',
  tokenLimitShowFewer: 'Show fewer',
};
