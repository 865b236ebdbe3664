import type { PolicyDocument } from '../permissions.js';
import { type DocumentParts, POLICY_NAME, ROLE_SESSION_SECONDS } from './parts.js';
import { hclPolicy, hclText } from './text.js';

/** Terraform configuration (HCL). */
export function writeTerraform(parts: DocumentParts): string {
  const { trust, execution, executionName, executionPath } = parts;
  const blocks = trust === null ? userBlocks(parts) : roleBlocks(parts, trust);
  if (execution !== null) {
    blocks.push(
      resourceBlock('aws_iam_role', 'execution', [
        `name               = ${hclText(executionName)}`,
        `path               = ${hclText(executionPath)}`,
        `assume_role_policy = ${hclPolicy(execution.trustPolicy)}`,
      ]),
      rolePolicyBlock('execution', execution.permissionPolicy),
      outputBlock('execution_role_arn', 'aws_iam_role.execution.arn'),
    );
  }
  return blocks.join('\n');
}

function userBlocks({ name, policy }: DocumentParts): string[] {
  return [
    resourceBlock('aws_iam_user', 'provider', [`name = ${hclText(name)}`]),
    resourceBlock('aws_iam_user_policy', 'provider', [
      `name   = "${POLICY_NAME}"`,
      'user   = aws_iam_user.provider.name',
      `policy = ${hclPolicy(policy)}`,
    ]),
    outputBlock('user_arn', 'aws_iam_user.provider.arn'),
  ];
}

function roleBlocks({ name, policy }: DocumentParts, trust: PolicyDocument): string[] {
  return [
    resourceBlock('aws_iam_role', 'provider', [
      `name                 = ${hclText(name)}`,
      `max_session_duration = ${ROLE_SESSION_SECONDS}`,
      `assume_role_policy   = ${hclPolicy(trust)}`,
    ]),
    rolePolicyBlock('provider', policy),
    outputBlock('role_arn', 'aws_iam_role.provider.arn'),
  ];
}

function rolePolicyBlock(role: string, document: PolicyDocument): string {
  return resourceBlock('aws_iam_role_policy', role, [
    `name   = "${POLICY_NAME}"`,
    `role   = aws_iam_role.${role}.id`,
    `policy = ${hclPolicy(document)}`,
  ]);
}

function resourceBlock(type: string, id: string, lines: string[]): string {
  return `resource "${type}" "${id}" {\n${lines.map((line) => `  ${line}\n`).join('')}}\n`;
}

function outputBlock(id: string, value: string): string {
  return `output "${id}" {\n  value = ${value}\n}\n`;
}
