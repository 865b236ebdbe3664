import { type DocumentParts, POLICY_NAME, type RolePolicies, ROLE_SESSION_SECONDS } from './parts.js';
import { compactJson, shellWord } from './text.js';

type Option = [name: string, value: string];

/** Commands of the AWS CLI for a POSIX shell. Each command runs only if those before it succeed. */
export function writeAwsCli({ name, executionName, executionPath, trust, policy, execution }: DocumentParts): string {
  const commands =
    trust === null
      ? [command('create-user', ['user-name', name]), putPolicy('put-user-policy', ['user-name', name], policy)]
      : buildRoleCommands(name, [['max-session-duration', String(ROLE_SESSION_SECONDS)]], {
          trustPolicy: trust,
          permissionPolicy: policy,
        });
  if (execution !== null) {
    const path: Option[] = executionPath === '/' ? [] : [['path', executionPath]];
    commands.push(...buildRoleCommands(executionName, path, execution));
  }
  // The last command, because it prints the secret key.
  if (trust === null) commands.push(command('create-access-key', ['user-name', name]));
  return `${commands.join(' &&\n')}\n`;
}

function buildRoleCommands(role: string, options: Option[], { trustPolicy, permissionPolicy }: RolePolicies): string[] {
  const name: Option = ['role-name', role];
  return [
    command('create-role', name, ...options, ['assume-role-policy-document', compactJson(trustPolicy)]),
    putPolicy('put-role-policy', name, permissionPolicy),
  ];
}

function putPolicy(operation: string, target: Option, policy: object): string {
  return command(operation, target, ['policy-name', POLICY_NAME], ['policy-document', compactJson(policy)]);
}

function command(operation: string, ...options: Option[]): string {
  const words = options.map(([name, value]) => ` --${name}${value.startsWith('-') ? '=' : ' '}${shellWord(value)}`);
  return `aws iam ${operation}${words.join('')}`;
}
