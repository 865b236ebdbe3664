import type { FastifyInstance } from 'fastify';
import { type Static, type TSchema, Type } from 'typebox';

const components = new Map<string, TSchema>();

/**
 * Makes a schema a named component of the OpenAPI document.
 * @returns a reference to the component, for use in other schemas
 * @throws Error when another schema has this name
 */
export function component<T extends TSchema>(name: string, schema: T) {
  if (components.has(name)) throw new Error(`Two schemas are named ${name}: component names must be unique`);
  components.set(name, { ...schema, $id: name });
  return Type.Unsafe<Static<T>>({ $ref: `${name}#` });
}

/** Adds all components to the app. Call it after the modules that declare components are imported. */
export function addSchemas(app: FastifyInstance): void {
  for (const schema of components.values()) app.addSchema(schema);
}
