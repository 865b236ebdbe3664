/** The code of gRPC for what does not exist. */
const NOT_FOUND = 5;

/** Whether Temporal says that what a call names does not exist. A call of the client wraps the error of gRPC. */
export function isNotFound(error: unknown): boolean {
  return grpcCode(error) === NOT_FOUND;
}

/** The code of gRPC; undefined for any other error. */
export function grpcCode(error: unknown): number | undefined {
  const { code, cause } = error as { code?: unknown; cause?: { code?: unknown } };
  const found = code ?? cause?.code;
  return typeof found === 'number' ? found : undefined;
}
