import { expect, it } from 'vitest';
import { findStaleChartFiles } from '../../deploy/helm/chartFiles.js';

it('keeps the files in the Helm chart equal to their sources: `npm run chart:files` copies them', () => {
  expect(findStaleChartFiles()).toEqual([]);
});
