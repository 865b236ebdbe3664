import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, Connection, type ConnectionOptions } from '@temporalio/client';
import type { DataConverter } from '@temporalio/common';
import { errorMessage } from '../domain/errors.js';
import type { TemporalSettings } from '../domain/settings.js';
import { untilAborted } from '../observability/deadline.js';
import { tracing } from '../observability/tracing.js';
import type { PayloadEncryption } from './codec.js';
import { grpcCode, isNotFound } from './errors.js';
import { requestIdInterceptor } from './logHeader.js';

/** How long Temporal may take to answer a check, in milliseconds. */
const CHECK_MS = 10_000;
/** Pauses between two tries to reach Temporal, in milliseconds. */
const PAUSES_MS = [250, 500, 1000, 2000, 5000];

/**
 * The longest pause between two tries of a client to connect again. With the default of gRPC, two minutes, the API would
 * call Temporal unreachable long after an outage.
 */
const RECONNECT_MS = 5000;

/** What clients (`Connection`) and workers (`NativeConnection`) need alike. */
type CommonOptions = Pick<ConnectionOptions, 'address' | 'apiKey' | 'tls'> & { address: string; apiKey?: string };

/**
 * The options that clients (`Connection`) and workers (`NativeConnection`) have in common.
 * @throws Error where a file of the settings cannot be read.
 */
export function toConnectionOptions(settings: TemporalSettings): CommonOptions {
  const { address, apiKey, caFile, clientCertificate, serverName } = settings;
  const usesTls =
    settings.tls ?? [apiKey, caFile, clientCertificate, serverName].some((setting) => setting !== undefined);
  return {
    address,
    ...(apiKey !== undefined && { apiKey }),
    ...(usesTls && {
      tls: {
        ...(caFile !== undefined && { serverRootCACertificate: readFileSync(caFile) }),
        ...(clientCertificate !== undefined && {
          clientCertPair: {
            crt: readFileSync(clientCertificate.certFile),
            key: readFileSync(clientCertificate.keyFile),
          },
        }),
        ...(serverName !== undefined && { serverNameOverride: serverName }),
      },
    }),
  };
}

/** Adds the address to the error of a connection, which does not always have it. */
export async function withAddress<T>({ address, namespace }: TemporalSettings, connecting: Promise<T>): Promise<T> {
  try {
    return await connecting;
  } catch (error) {
    throw new Error(
      `Temporal at ${address} (namespace ${namespace}) does not answer: ${errorMessage(error)}. ` +
        'Check TEMPORAL_ADDRESS and the network.',
      { cause: error },
    );
  }
}

/** How payloads are written and read. @param codec absent where nothing is encrypted. */
export function createDataConverter(codec: PayloadEncryption | undefined): DataConverter | undefined {
  if (codec === undefined) return undefined;
  return {
    payloadCodecs: [codec],
    // Messages and stack traces of failures are no payloads. This converter moves them into one. Where nothing is
    // encrypted, they stay where people see them; any converter reads both.
    ...(codec.isEncrypting && {
      failureConverterPath: fileURLToPath(new URL('./failureConverter.js', import.meta.url)),
    }),
  };
}

/** A client, and its connection. */
export interface ConnectedClient {
  client: Client;
  connection: Connection;
}

/**
 * Creates a client that connects with its first call, and again whenever the connection was lost. The caller closes the
 * connection.
 */
export function openTemporal(settings: TemporalSettings, codec?: PayloadEncryption): ConnectedClient {
  const connection = Connection.lazy({
    ...toConnectionOptions(settings),
    channelArgs: { 'grpc.max_reconnect_backoff_ms': RECONNECT_MS },
  });
  const dataConverter = createDataConverter(codec);
  const workflow = [...(tracing()?.clientInterceptors ?? []), requestIdInterceptor];
  return {
    connection,
    client: new Client({
      connection,
      namespace: settings.namespace,
      interceptors: { workflow },
      ...(dataConverter !== undefined && { dataConverter }),
    }),
  };
}

/** Connects to Temporal at once. The caller closes the connection. @throws Error where Temporal does not answer */
export async function connectTemporal(settings: TemporalSettings, codec?: PayloadEncryption): Promise<ConnectedClient> {
  const opened = openTemporal(settings, codec);
  try {
    await withAddress(
      settings,
      opened.connection.withDeadline(Date.now() + CHECK_MS, () => getSystemInfo(opened)),
    );
    return opened;
  } catch (error) {
    await opened.connection.close();
    throw error;
  }
}

function getSystemInfo({ connection }: ConnectedClient) {
  return connection.workflowService.getSystemInfo({});
}

/**
 * Waits until Temporal answers and has the namespace, and says what it waits for.
 * @param stopping ends the waiting.
 * @throws AbortError when it ends so.
 */
export async function waitForTemporal(
  settings: TemporalSettings,
  { connection }: ConnectedClient,
  logger: { warn: (fields: object, message: string) => void },
  stopping: AbortSignal,
): Promise<void> {
  const { address: temporal, namespace } = settings;
  for (let attempt = 0; ; attempt++) {
    try {
      // `withAbortSignal` of the SDK would leave a listener behind with each call.
      await untilAborted(
        connection.withDeadline(Date.now() + CHECK_MS, () =>
          connection.workflowService.describeNamespace({ namespace }),
        ),
        stopping,
      );
      return;
    } catch (error) {
      stopping.throwIfAborted();
      const reason = errorMessage(error);
      logger.warn({ temporal, namespace, reason, todo: adviseOn(error, settings) }, 'waiting for Temporal');
    }
    await setTimeout(PAUSES_MS[Math.min(attempt, PAUSES_MS.length - 1)], undefined, { signal: stopping });
  }
}

/** Codes of gRPC. */
const [PERMISSION_DENIED, UNAUTHENTICATED] = [7, 16];

/** What a person must do about an error of Temporal. */
function adviseOn(error: unknown, { address, namespace }: TemporalSettings): string {
  const code = grpcCode(error);
  if (isNotFound(error))
    return `Create the namespace: temporal operator namespace create --address ${address} --namespace ${namespace}`;
  if (code === PERMISSION_DENIED || code === UNAUTHENTICATED)
    return `Give this identity access to the namespace ${namespace}: check TEMPORAL_API_KEY, or the client certificate`;
  return `Check TEMPORAL_ADDRESS (${address}), the network, and the TLS settings TEMPORAL_TLS…`;
}
