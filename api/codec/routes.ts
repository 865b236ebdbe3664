import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { Payload } from '@temporalio/common';
import proto from '@temporalio/proto';
import type { FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { InputError } from '../../domain/errors.js';
import { encryptingKeyId, PayloadKeyError, type PayloadEncryption } from '../../temporal/codec.js';
import { requireScope } from '../plugins/auth.js';

const ProtoPayload = proto.temporal.api.common.v1.Payload;

/** Bytes in the JSON form of the messages (ProtoJSON): base64, also that for URLs. */
const bytes = Type.Union([Type.String({ pattern: '^[A-Za-z0-9+/_-]*={0,2}$' }), Type.Null()]);

/** Payloads in their JSON form. Newer servers may add members. Those that are read have exactly these types. */
const body = Type.Object({
  payloads: Type.Optional(
    Type.Array(
      Type.Object(
        { metadata: Type.Optional(Type.Record(Type.String(), bytes)), data: Type.Optional(bytes) },
        { additionalProperties: true },
      ),
      { maxItems: 100_000 },
    ),
  ),
});

/** Most reasons that one request logs. */
const MOST_REASONS = 10;

/**
 * The remote codec protocol of Temporal (Temporal's documentation, "Codec Server"): the Web UI and the `temporal`
 * command send payloads, and show what comes back.
 */
export function codecRoutes(scope: FastifyInstance, codec: PayloadEncryption): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const config = (action: 'read' | 'write') => requireScope(`payloads:${action}`, undefined, { audit: false });

  app.post('/decode', { schema: { operationId: 'Codec_Decode', body }, config: config('read') }, async (request) => {
    const failures = new Map<string, { keyId: string | undefined; reason: string; payloads: number }>();
    const decoded = await Promise.all(
      parsePayloads(request.body.payloads).map((payload) =>
        decodeOrKeep(codec, payload, (reason) => {
          const keyId = encryptingKeyId(payload);
          const failure = failures.get(reason) ?? { keyId, reason, payloads: 0 };
          failure.payloads++;
          if (failures.size < MOST_REASONS) failures.set(reason, failure);
        }),
      ),
    );
    // One line for each reason: a history may have thousands of payloads.
    for (const failure of failures.values()) request.log.warn(failure, 'payloads cannot be decrypted');
    return { payloads: decoded.map(toJson) };
  });

  app.post('/encode', { schema: { operationId: 'Codec_Encode', body }, config: config('write') }, async (request) => ({
    payloads: (await codec.encode(parsePayloads(request.body.payloads))).map(toJson),
  }));
}

/** Decrypts a payload. One that cannot be decrypted stays as it is, so that the others of the history are shown. */
async function decodeOrKeep(
  codec: PayloadEncryption,
  payload: Payload,
  onFailure: (reason: string) => void,
): Promise<Payload> {
  try {
    return (await codec.decode([payload]))[0]!;
  } catch (error) {
    if (!(error instanceof PayloadKeyError)) throw error;
    onFailure(error.message);
    return payload;
  }
}

/** @throws InputError where a member that the schema does not know is not what the message has */
function parsePayloads(payloads: readonly object[] | undefined): Payload[] {
  return (payloads ?? []).map((payload, at) => {
    try {
      return ProtoPayload.fromObject(payload);
    } catch {
      const message = 'is not a payload in the JSON form of Temporal (ProtoJSON): its bytes must be base64';
      throw new InputError([{ field: `payloads.${at}`, rule: 'NOT_A_PAYLOAD', message }]);
    }
  });
}

function toJson(payload: Payload): object {
  return ProtoPayload.toObject(ProtoPayload.fromObject(payload), { bytes: String });
}
