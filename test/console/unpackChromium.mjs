// Unpacks the Chromium of @sparticuz/chromium, and prints how to start it, as JSON. A process of its own, because the
// package needs AWS_EXECUTION_ENV, which changes what the AWS SDK does, and changes the environment itself.
import chromium from '@sparticuz/chromium';

const executablePath = await chromium.executablePath();
process.stdout.write(JSON.stringify({ executablePath, libraryPath: process.env.LD_LIBRARY_PATH }));
