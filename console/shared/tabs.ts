import type { TabsProps } from '@cloudscape-design/components/tabs';

/** What the buttons of tabs say that do not fit. */
export const TAB_TEXTS: TabsProps.I18nStrings = {
  scrollLeftAriaLabel: 'Show the tabs before',
  scrollRightAriaLabel: 'Show the tabs behind',
};
