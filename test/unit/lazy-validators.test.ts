import { AjvCompiler, type BuildCompilerFromPool } from '@fastify/ajv-compiler';
import { expect, it } from 'vitest';
import { lazyValidators } from '../../api/plugins/validators.js';

const schemas = { Name: { $id: 'Name', type: 'string' } };

type Route = Record<'method' | 'url' | 'httpPart', string> & { schema: object };
type Validate = ((data: unknown) => boolean) & { errors?: { keyword: string }[] | null };

/** The compiler of a server, and what it has done. */
function serverCompiler(): { compile: (schema: object) => Validate; done: string[] } {
  const done: string[] = [];
  const build = ((externals: typeof schemas, options: object) => {
    done.push('build');
    const compile = AjvCompiler()(externals, options) as unknown as (route: Route) => Validate;
    return (route: Route) => {
      done.push('compile');
      return compile(route);
    };
  }) as unknown as BuildCompilerFromPool;
  const compile = lazyValidators(build)(schemas, { customOptions: {} }) as unknown as (route: Route) => Validate;
  return { compile: (schema) => compile({ method: 'POST', url: '/', httpPart: 'body', schema }), done };
}

it('compiles a schema with the first value, and once', () => {
  const { compile, done } = serverCompiler();
  const validate = compile({ $ref: 'Name#' });
  const other = compile({ type: 'array' });
  expect(done).toEqual([]);
  expect([validate('a'), validate({}), other([])]).toEqual([true, false, true]);
  expect(done).toEqual(['build', 'compile', 'compile']);
});

it('has the problems of the last value, as a validator of Ajv does', () => {
  const validate = serverCompiler().compile({ $ref: 'Name#' });
  validate({});
  expect(validate.errors).toEqual([expect.objectContaining({ keyword: 'type' })]);
  validate('a');
  expect(validate.errors).toBeNull();
});
