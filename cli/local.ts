import { startStack } from '../local/stack.js';
import { stateFolder } from '../local/stackFiles.js';

/** `npm run local`: the stack, left running until Ctrl-C. */
export async function local(): Promise<void> {
  const stack = await startStack({ onProgress: (line) => void process.stdout.write(`${line}\n`) });
  const { info } = stack;
  process.stdout.write(
    `\nAPI            ${info.apiUrl}   (docs ${info.apiUrl}/docs, any user, the key as password)\nAPI key        ${info.apiKey}\nTemporal UI    ${info.temporalUiUrl}\nTemporal       ${info.temporalAddress}, namespace ${info.namespace}\nPostgreSQL     ${info.databaseUrl}\n\nAWS, as the customer's admin:\n  export AWS_ENDPOINT_URL=${info.awsEndpoint} AWS_REGION=${info.awsRegion} AWS_DISABLE_HOST_PREFIX_INJECTION=true\n  export AWS_ACCESS_KEY_ID=${info.adminAccessKeyId} AWS_SECRET_ACCESS_KEY=${info.adminSecretAccessKey}\n\nAll of it stands in ${stateFolder()}/local.json. Ctrl-C stops the stack; its state stays.\n`,
  );
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
  process.stdout.write('\nStopping…\n');
  await stack.stop();
}
