import type { PolicyDocument } from '../permissions.js';
import { type DocumentParts, POLICY_NAME, ROLE_SESSION_SECONDS } from './parts.js';
import { templateText } from './text.js';

/** A CloudFormation template in JSON. A stack with it needs CAPABILITY_NAMED_IAM. */
export function writeCloudFormation(parts: DocumentParts): string {
  const { trust, execution } = parts;
  const resources = {
    ...(trust === null ? { ProviderUser: userResource(parts) } : { ProviderRole: roleResource(parts, trust) }),
    ...(execution && {
      ExecutionRole: {
        Type: 'AWS::IAM::Role',
        Properties: {
          RoleName: parts.executionName,
          Path: parts.executionPath,
          AssumeRolePolicyDocument: execution.trustPolicy,
          Policies: inlinePolicies(execution.permissionPolicy),
        },
      },
    }),
  };
  const outputs = Object.fromEntries(
    Object.keys(resources).map((id) => [`${id}Arn`, { Value: { 'Fn::GetAtt': [id, 'Arn'] } }]),
  );
  return templateText({
    AWSTemplateFormatVersion: '2010-09-09',
    Description: trust === null ? 'IAM user for polony; create its access key in the console' : 'IAM role for polony',
    Resources: resources,
    Outputs: outputs,
  });
}

function userResource({ name, policy }: DocumentParts) {
  return { Type: 'AWS::IAM::User', Properties: { UserName: name, Policies: inlinePolicies(policy) } };
}

function roleResource({ name, policy }: DocumentParts, trust: PolicyDocument) {
  return {
    Type: 'AWS::IAM::Role',
    Properties: {
      RoleName: name,
      MaxSessionDuration: ROLE_SESSION_SECONDS,
      AssumeRolePolicyDocument: trust,
      Policies: inlinePolicies(policy),
    },
  };
}

function inlinePolicies(document: PolicyDocument) {
  return [{ PolicyName: POLICY_NAME, PolicyDocument: document }];
}
