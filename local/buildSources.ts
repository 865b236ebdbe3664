import { buildConsole } from './console.js';
import { buildOnce } from './sourceBuild.js';

// Builds what fromSources.mjs starts.
const say = (line: string): void => void process.stdout.write(`${line}\n`);
say('Compiling polony (once for each change of the sources, some seconds)');
await Promise.all([buildConsole(say), buildOnce()]);
