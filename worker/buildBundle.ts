import { writeFile } from 'node:fs/promises';
import { bundleWorkflows } from './workflowBundle.js';

// Part of `npm run build`: workers of a build load this bundle instead of running webpack at each start.
await writeFile(new URL('./workflow-bundle.js', import.meta.url), await bundleWorkflows());
