import { checkBucketName, normalizePrefix } from '../connections/storage.js';
import { type FieldProblem, throwIfInvalid } from '../errors.js';
import { checkDocumentPrefix } from '../iam/fields.js';
import { hclJson, templateText } from '../iam/formats/text.js';
import { RUN_UPLOADED_FILE } from '../runs/runUploaded.js';

/** Templates that make EventBridge send events about uploads and HealthOmics runs to polony. */
export interface EventDocuments {
  cloudFormation: string;
  terraform: string;
}

export interface EventQuery {
  bucket: string;
  prefix?: string;
  /** `https://…/v1/events`, as EventBridge reaches the API. */
  url?: string;
}

/** EventBridge discards an event after this time. polony has then found the run by polling. */
const MAXIMUM_AGE_SECONDS = 300;

/**
 * Writes rules, API destination, connection and role as a CloudFormation template and as Terraform. The key is a
 * parameter, and neither text contains it. The bucket's owner must turn on EventBridge notifications in the bucket: a
 * template that did so would delete the bucket's other notifications.
 * @throws InputError
 */
export function eventDocuments({ bucket, prefix = '', url }: EventQuery): EventDocuments {
  const folder = normalizePrefix(prefix);
  const problems: FieldProblem[] = [
    ...checkBucketName('bucket', bucket.trim()),
    ...checkDocumentPrefix('prefix', folder),
  ];
  if (url !== undefined && !/^https:\/\/[^\s$"'<>\\^`{|}]+$/.test(url))
    problems.push({
      field: 'url',
      rule: 'HTTPS',
      message: 'must be the https URL of POST /v1/events, because API destinations of EventBridge accept only https',
    });
  throwIfInvalid(problems);
  // Wildcard patterns need a backslash before `*` and `\`, but no prefix contains these characters.
  const objects = {
    source: ['aws.s3'],
    'detail-type': ['Object Created'],
    detail: {
      bucket: { name: [bucket.trim()] },
      object: {
        key: [RUN_UPLOADED_FILE, 'RunParameters.json'].map((file) => ({
          wildcard: `${folder === '' ? '' : `${folder}/`}*/${file}`,
        })),
      },
    },
  };
  const runs = { source: ['aws.omics'], 'detail-type': ['Run Status Change'] };
  return {
    cloudFormation: writeEventsCloudFormation(objects, runs, url),
    terraform: writeEventsTerraform(objects, runs, url),
  };
}

const ASSUME = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'events.amazonaws.com' }, Action: 'sts:AssumeRole' }],
};

function writeEventsCloudFormation(objects: object, runs: object, url: string | undefined): string {
  const get = (id: string, attribute: string) => ({ 'Fn::GetAtt': [id, attribute] });
  const rule = (description: string, pattern: object) => ({
    Type: 'AWS::Events::Rule',
    Properties: {
      Description: description,
      EventPattern: pattern,
      Targets: [
        {
          Id: 'polony',
          Arn: get('Destination', 'Arn'),
          RoleArn: get('Role', 'Arn'),
          RetryPolicy: { MaximumEventAgeInSeconds: MAXIMUM_AGE_SECONDS, MaximumRetryAttempts: 10 },
        },
      ],
    },
  });
  const template = {
    AWSTemplateFormatVersion: '2010-09-09',
    Description:
      'Sends events about uploads and HealthOmics runs to polony. ' +
      'Turn on "Send notifications to Amazon EventBridge" in the properties of the bucket.',
    Parameters: {
      EventsUrl: {
        Type: 'String',
        Description: 'https URL of POST /v1/events',
        AllowedPattern: 'https://.+',
        ...(url !== undefined && { Default: url }),
      },
      EventsKey: { Type: 'String', NoEcho: true, MinLength: 24, Description: 'POLONY_EVENTS_KEY' },
    },
    Resources: {
      Connection: {
        Type: 'AWS::Events::Connection',
        Properties: {
          AuthorizationType: 'API_KEY',
          AuthParameters: { ApiKeyAuthParameters: { ApiKeyName: 'x-api-key', ApiKeyValue: { Ref: 'EventsKey' } } },
        },
      },
      Destination: {
        Type: 'AWS::Events::ApiDestination',
        Properties: {
          ConnectionArn: get('Connection', 'Arn'),
          HttpMethod: 'POST',
          InvocationEndpoint: { Ref: 'EventsUrl' },
          InvocationRateLimitPerSecond: 50,
        },
      },
      Role: {
        Type: 'AWS::IAM::Role',
        Properties: {
          AssumeRolePolicyDocument: ASSUME,
          Policies: [
            {
              PolicyName: 'polony',
              PolicyDocument: {
                Version: '2012-10-17',
                Statement: [
                  { Effect: 'Allow', Action: 'events:InvokeApiDestination', Resource: get('Destination', 'Arn') },
                ],
              },
            },
          ],
        },
      },
      Uploads: rule('Files that begin and end the upload of a run', objects),
      Runs: rule('Status of HealthOmics runs', runs),
    },
  };
  return templateText(template);
}

function writeEventsTerraform(objects: object, runs: object, url: string | undefined): string {
  const json = hclJson;
  const rule = (
    id: string,
    description: string,
    pattern: object,
  ): string => `resource "aws_cloudwatch_event_rule" "${id}" {
  description   = "${description}"
  event_pattern = ${json(pattern)}
}

resource "aws_cloudwatch_event_target" "${id}" {
  rule     = aws_cloudwatch_event_rule.${id}.name
  arn      = aws_cloudwatch_event_api_destination.polony.arn
  role_arn = aws_iam_role.polony_events.arn
  retry_policy {
    maximum_event_age_in_seconds = ${MAXIMUM_AGE_SECONDS}
    maximum_retry_attempts       = 10
  }
}
`;
  return `# Turn on "Send notifications to Amazon EventBridge" in the properties of the bucket:
# aws_s3_bucket_notification with eventbridge = true, together with the notifications that the bucket already has.

variable "events_url" {
  description = "https URL of POST /v1/events"
  type        = string
${url === undefined ? '' : `  default     = ${JSON.stringify(url)}\n`}}

variable "events_key" {
  description = "POLONY_EVENTS_KEY"
  type        = string
  sensitive   = true
}

resource "aws_cloudwatch_event_connection" "polony" {
  name               = "polony"
  authorization_type = "API_KEY"
  auth_parameters {
    api_key {
      key   = "x-api-key"
      value = var.events_key
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "polony" {
  name                             = "polony"
  connection_arn                   = aws_cloudwatch_event_connection.polony.arn
  invocation_endpoint              = var.events_url
  http_method                      = "POST"
  invocation_rate_limit_per_second = 50
}

resource "aws_iam_role" "polony_events" {
  name_prefix        = "polony-events"
  assume_role_policy = ${json(ASSUME)}
}

resource "aws_iam_role_policy" "polony_events" {
  role   = aws_iam_role.polony_events.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "events:InvokeApiDestination"
      Resource = aws_cloudwatch_event_api_destination.polony.arn
    }]
  })
}

${rule('polony_uploads', 'Files that begin and end the upload of a run', objects)}
${rule('polony_runs', 'Status of HealthOmics runs', runs)}`;
}
