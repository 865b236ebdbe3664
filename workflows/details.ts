import { code, plain } from '../domain/markdown.js';
import { type Owner, OWNERS, ownerOf } from '../domain/executions/blockedCause.js';
import type { Blocked } from '../domain/executions/execution.js';

// The current details of workflows are Markdown, which the Temporal UI renders. Names and messages come from customers
// and from AWS, so they are shown as code: they cannot become links or hide what follows.

/** A point of the details: its name and its text, which is Markdown. Points without a text are left out. */
export type Point = readonly [name: string, text: string | undefined];

/** A link to the AWS console; the text alone where there is no address. */
export function link(text: string, url: string | undefined): string {
  return url === undefined ? code(text) : `[${code(text)}](${url})`;
}

/** A time in milliseconds since 1970, in ISO 8601 and UTC. */
export function time(ms: number): string {
  return new Date(ms).toISOString();
}

/** A headline with a list of points below it. */
export function describePoints(headline: string, points: readonly Point[]): string {
  const lines = points.flatMap(([name, text]) => (text === undefined || text === '' ? [] : [`- **${name}:** ${text}`]));
  return [headline, lines.join('\n')].filter((part) => part !== '').join('\n\n');
}

/**
 * What blocks a workflow, since when, who must do what, and what makes it continue.
 * @param cause the value of `PolonyBlockedBy` that counts the workflows with the same cause
 */
export function describeBlocked(blocked: Blocked, cause: string, since: number, giveUpAt: number): string {
  const { kind, action, resource, message, remedy, statement } = blocked;
  const missing = [action, resource].flatMap((part) => (part === undefined ? [] : [code(part)])).join(' on ');
  const policy = statement === undefined ? '' : `\n\n\`\`\`json\n${JSON.stringify(statement, null, 2)}\n\`\`\``;
  return (
    describePoints(`**Blocked: ${kind}**`, [
      ['Blocked since', time(since)],
      ['Missing', missing],
      ['Answer', code(message)],
      ['Who must act', OWNERS[ownerOf(blocked)]],
      ['To do', plain(remedy)],
      ['Cause', code(cause)],
      [
        'Continues',
        `by itself at most 5 minutes after the repair; at once with the signal ${code('retry')}. ` +
          `polony gives up at ${time(giveUpAt)}`,
      ],
    ]) + policy
  );
}

/** Who must act after a failure, and how, as the end of its message. */
export function describeToDo(owner: Owner, toDo: string): string {
  return `What to do (${OWNERS[owner]}): ${toDo.replace(/\.$/, '')}.`;
}
