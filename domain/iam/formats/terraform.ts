import type { PolicyDocument } from '../permissions.js';
import { type DocumentParts, POLICY_NAME, SESSION_SECONDS } from './parts.js';
import { hclJson, hclText } from './text.js';

/** Terraform configuration (HCL). */
export function terraform(parts: DocumentParts): string {
  const { trust, execution, executionName, executionPath } = parts;
  const blocks = trust === null ? providerUser(parts) : providerRole(parts, trust);
  if (execution !== null) {
    blocks.push(
      resource('aws_iam_role', 'execution', [
        `name               = ${hclText(executionName)}`,
        `path               = ${hclText(executionPath)}`,
        `assume_role_policy = ${hclJson(execution.trustPolicy)}`,
      ]),
      rolePolicy('execution', execution.permissionPolicy),
      output('execution_role_arn', 'aws_iam_role.execution.arn'),
    );
  }
  return blocks.join('\n');
}

function providerUser({ name, policy }: DocumentParts): string[] {
  return [
    resource('aws_iam_user', 'provider', [`name = ${hclText(name)}`]),
    resource('aws_iam_user_policy', 'provider', [
      `name   = "${POLICY_NAME}"`,
      'user   = aws_iam_user.provider.name',
      `policy = ${hclJson(policy)}`,
    ]),
    output('user_arn', 'aws_iam_user.provider.arn'),
  ];
}

function providerRole({ name, policy }: DocumentParts, trust: PolicyDocument): string[] {
  return [
    resource('aws_iam_role', 'provider', [
      `name                 = ${hclText(name)}`,
      `max_session_duration = ${SESSION_SECONDS}`,
      `assume_role_policy   = ${hclJson(trust)}`,
    ]),
    rolePolicy('provider', policy),
    output('role_arn', 'aws_iam_role.provider.arn'),
  ];
}

function rolePolicy(role: string, document: PolicyDocument): string {
  return resource('aws_iam_role_policy', role, [
    `name   = "${POLICY_NAME}"`,
    `role   = aws_iam_role.${role}.id`,
    `policy = ${hclJson(document)}`,
  ]);
}

function resource(type: string, id: string, lines: string[]): string {
  return `resource "${type}" "${id}" {\n${lines.map((line) => `  ${line}\n`).join('')}}\n`;
}

function output(id: string, value: string): string {
  return `output "${id}" {\n  value = ${value}\n}\n`;
}
