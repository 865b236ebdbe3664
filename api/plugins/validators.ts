import { AjvCompiler, type BuildCompilerFromPool } from '@fastify/ajv-compiler';

type Compiler = ReturnType<BuildCompilerFromPool>;
type Validator = ReturnType<Compiler>;

/**
 * Compiles the schema of a request when the first such request arrives, instead of all of them before the API listens:
 * that took a third of its start, and memory for routes that nobody calls.
 * @returns `buildValidator` for one server. Its contexts share what has the same schemas.
 */
export function lazyValidators(build: BuildCompilerFromPool = AjvCompiler()): BuildCompilerFromPool {
  const compilers = new Map<string, Compiler>();
  return (schemas, options) => {
    // Fastify asks once for each route. The ids say enough: only one place adds schemas (api/openapi/components.ts).
    const ids = Object.keys(schemas).join('\n');
    return (route) => {
      let validator: Validator | undefined;
      const validate = (data: unknown): unknown => {
        if (validator === undefined) {
          let compiler = compilers.get(ids);
          if (compiler === undefined) compilers.set(ids, (compiler = build(schemas, options)));
          validator = compiler(route);
        }
        const result = validator(data);
        // Fastify reads them from the function that it called.
        (validate as { errors?: unknown }).errors = validator.errors;
        return result;
      };
      return validate as Validator;
    };
  };
}
