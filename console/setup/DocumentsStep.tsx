import Box from '@cloudscape-design/components/box';
import Button from '@cloudscape-design/components/button';
import ExpandableSection from '@cloudscape-design/components/expandable-section';
import SpaceBetween from '@cloudscape-design/components/space-between';
import StatusIndicator from '@cloudscape-design/components/status-indicator';
import Tabs from '@cloudscape-design/components/tabs';
import type { ReactNode } from 'react';
import { Copyable, CopyableCode } from '../shared/Copyable.js';
import { Failure } from '../shared/Failure.js';
import { type Documents, download, type useDocuments } from './documents.js';
import { PolicyCheck } from './PolicyCheck.js';
import type { Setup } from './setupSearch.js';

export interface DocumentsStepProps {
  setup: Setup;
  documents: ReturnType<typeof useDocuments>;
  /** The account that polony runs in; undefined where nobody knows it. */
  trustedAccountId: string | undefined;
}

/** Shows what to create in the AWS account, in four forms, and checks a policy that exists. */
export function DocumentsStep({ setup, documents, trustedAccountId }: DocumentsStepProps): ReactNode {
  const { data, error, hasBucket, isFetching, refetch } = documents;
  if (!hasBucket) return <Box color="text-body-secondary">Name the bucket above. The documents appear here.</Box>;
  return (
    <SpaceBetween size="l">
      {error !== null && <Failure error={error} what="The documents cannot be made" onRetry={() => void refetch()} />}
      {data === undefined && isFetching && <StatusIndicator type="loading">Making the documents</StatusIndicator>}
      {data !== undefined && error === null && (
        <SpaceBetween size="s">
          <Box>
            Create these in your AWS account, as somebody who may create {roleOrUser(setup)}. Choose one form; each has
            the same content. They change with what you enter above.
          </Box>
          {data.externalId !== null && (
            <Box>
              {trustedAccountId !== undefined && (
                <>The role trusts account {trustedAccountId}, in which polony runs. </>
              )}
              External ID: <Copyable text={data.externalId} name="the external ID" />
            </Box>
          )}
          <Forms setup={setup} documents={data} />
        </SpaceBetween>
      )}
      <ExpandableSection headerText="The bucket does not exist yet">
        <SpaceBetween size="s">
          <Box>
            Create it in the region of HealthOmics. Buckets that are new have the settings that Element recommends: no
            ACLs, public access blocked, and default encryption.
          </Box>
          <CopyableCode
            name="the command that creates the bucket"
            text={`aws s3 mb s3://${setup.bucket.trim()}${setup.region.trim() === '' ? '' : ` --region ${setup.region.trim()}`}`}
          />
        </SpaceBetween>
      </ExpandableSection>
      <ExpandableSection headerText="Check a policy that you have already">
        <PolicyCheck setup={setup} />
      </ExpandableSection>
    </SpaceBetween>
  );
}

const roleOrUser = ({ credentialType, capabilities }: Setup): string =>
  credentialType === 'role'
    ? capabilities.includes('bases2fastq')
      ? 'roles'
      : 'a role'
    : capabilities.includes('bases2fastq')
      ? 'a user and a role'
      : 'a user';

/** A document with a button that copies it, and one that downloads it. */
function Document({ name, text, file }: { name: string; text: string; file: string }): ReactNode {
  return (
    <SpaceBetween size="xs">
      <CopyableCode name={name} text={text} />
      <Button iconName="download" onClick={() => download(file, text)}>
        Download {file}
      </Button>
    </SpaceBetween>
  );
}

const json = (document: object): string => JSON.stringify(document, null, 2);

function Forms({ setup, documents }: { setup: Setup; documents: Documents }): ReactNode {
  const region = setup.region.trim() === '' ? '' : ` --region ${setup.region.trim()}`;
  const keys =
    setup.credentialType === 'accessKeys' &&
    'Then create an access key for the user (IAM, Users, Security credentials, Create access key, Third-party service).';
  return (
    <Tabs
      ariaLabel="Forms of the documents"
      tabs={[
        {
          id: 'cli',
          label: 'AWS CLI',
          content: (
            <SpaceBetween size="s">
              <Box>
                Open CloudShell in the AWS console, paste the commands, and run them. Note the ARN of each role that
                they print. {keys}
              </Box>
              <Document name="the commands" text={documents.awsCli} file="polony-roles.sh" />
            </SpaceBetween>
          ),
        },
        {
          id: 'cloudformation',
          label: 'CloudFormation',
          content: (
            <SpaceBetween size="s">
              <Box>
                Download the template. In the AWS console, open CloudFormation, choose Create stack, upload the file,
                and confirm that it creates IAM resources with names. Or run:
              </Box>
              <CopyableCode
                name="the command that deploys the template"
                text={`aws cloudformation deploy --stack-name polony --template-file polony-roles.json --capabilities CAPABILITY_NAMED_IAM${region}`}
              />
              {keys !== false && <Box>{keys}</Box>}
              <Document name="the CloudFormation template" text={documents.cloudFormation} file="polony-roles.json" />
            </SpaceBetween>
          ),
        },
        {
          id: 'terraform',
          label: 'Terraform',
          content: (
            <SpaceBetween size="s">
              <Box>Put the file into your configuration, and run terraform apply. {keys}</Box>
              <Document name="the Terraform configuration" text={documents.terraform} file="polony-roles.tf" />
            </SpaceBetween>
          ),
        },
        {
          id: 'json',
          label: 'JSON policies',
          content: <Policies documents={documents} keys={keys} />,
        },
      ]}
    />
  );
}

function Policies({ documents, keys }: { documents: Documents; keys: string | false }): ReactNode {
  const { trustPolicy, permissionPolicy, executionRole } = documents;
  return (
    <SpaceBetween size="l">
      <SpaceBetween size="s">
        <Box variant="h3">{trustPolicy === null ? 'User for polony' : 'Role for polony'}</Box>
        {trustPolicy === null ? (
          <Box>
            In IAM, create a user named Element-ServiceUser without access to the console, and give it this inline
            policy. {keys}
          </Box>
        ) : (
          <SpaceBetween size="s">
            <Box>
              In IAM, create a role named Element-ServiceUser with this custom trust policy. Then set its maximum
              session duration to 12 hours.
            </Box>
            <Document name="the trust policy" text={json(trustPolicy)} file="trust-policy.json" />
            <Box>Give it this inline policy:</Box>
          </SpaceBetween>
        )}
        <Document name="the permission policy" text={json(permissionPolicy)} file="permission-policy.json" />
      </SpaceBetween>
      {executionRole !== null && (
        <SpaceBetween size="s">
          <Box variant="h3">Execution role for HealthOmics</Box>
          <Box>Create a second role, named Element-HealthOmics-Execution, with this custom trust policy:</Box>
          <Document
            name="the trust policy of the execution role"
            text={json(executionRole.trustPolicy)}
            file="execution-trust-policy.json"
          />
          <Box>Give it this inline policy:</Box>
          <Document
            name="the permission policy of the execution role"
            text={json(executionRole.permissionPolicy)}
            file="execution-permission-policy.json"
          />
        </SpaceBetween>
      )}
    </SpaceBetween>
  );
}
