import { describe, expect, it } from 'vitest';
import { iamText } from '../../cli/iam.js';
import { eventDocuments } from '../../domain/events/documents.js';

interface Template {
  Parameters: Record<string, { Default?: string; NoEcho?: boolean }>;
  Resources: Record<
    string,
    {
      Type: string;
      Properties: {
        EventPattern?: { detail?: { bucket: { name: string[] }; object: { key: { wildcard: string }[] } } };
      };
    }
  >;
}

describe('eventDocuments', () => {
  it('creates rules for the files of one folder and for HealthOmics runs, and contains no key', () => {
    const { cloudFormation, terraform } = eventDocuments({
      bucket: 'lab-aviti',
      prefix: '/runs/',
      url: 'https://polony.example.org/v1/events',
    });
    const { Parameters, Resources } = JSON.parse(cloudFormation) as Template;
    expect(Parameters.EventsKey).toMatchObject({ NoEcho: true });
    expect(Parameters.EventsKey!.Default).toBeUndefined();
    expect(Parameters.EventsUrl!.Default).toBe('https://polony.example.org/v1/events');
    expect(Object.values(Resources).map((resource) => resource.Type)).toEqual([
      'AWS::Events::Connection',
      'AWS::Events::ApiDestination',
      'AWS::IAM::Role',
      'AWS::Events::Rule',
      'AWS::Events::Rule',
    ]);
    expect(Resources.Uploads!.Properties.EventPattern!.detail).toEqual({
      bucket: { name: ['lab-aviti'] },
      object: { key: [{ wildcard: 'runs/*/RunUploaded.json' }, { wildcard: 'runs/*/RunParameters.json' }] },
    });
    for (const text of ['runs/*/RunUploaded.json', 'aws.omics', 'sensitive   = true', 'events:InvokeApiDestination'])
      expect(terraform).toContain(text);
  });
  it('covers the whole bucket when no prefix is given', () => {
    expect(JSON.parse(eventDocuments({ bucket: 'lab-aviti' }).cloudFormation)).toMatchObject({
      Resources: {
        Uploads: {
          Properties: { EventPattern: { detail: { object: { key: [{ wildcard: '*/RunUploaded.json' }, {}] } } } },
        },
      },
    });
  });
  it.each([
    [{ bucket: 'Not A Bucket' }, 'bucket'],
    [{ bucket: 'lab-aviti', url: 'http://polony.example.org/v1/events' }, 'url'],
    [{ bucket: 'lab-aviti', url: 'https://${x}' }, 'url'],
    [{ bucket: 'lab-aviti', prefix: 'a${b}' }, 'prefix'],
    [{ bucket: 'lab-aviti', prefix: 'a\\b' }, 'prefix'],
    [{ bucket: 'lab-aviti', prefix: '{{resolve:ssm:secret}}' }, 'prefix'],
    [{ bucket: 'lab-aviti', prefix: '\ud800x' }, 'prefix'],
    [{ bucket: 'lab-aviti', url: 'https://x" }\nresource' }, 'url'],
  ])('rejects %j and names %s', (query, field) => {
    expect(() => eventDocuments(query)).toThrow(new RegExp(field));
  });
  it('escapes the prefix in CloudFormation and in Terraform', () => {
    const { cloudFormation, terraform } = eventDocuments({ bucket: 'lab-aviti', prefix: 'läufe %{x} 日' });
    expect(cloudFormation).toMatch(/^[\x00-\x7e]*$/);
    expect(JSON.parse(cloudFormation)).toMatchObject({
      Resources: {
        Uploads: {
          Properties: {
            EventPattern: { detail: { object: { key: [{ wildcard: 'läufe %{x} 日/*/RunUploaded.json' }, {}] } } },
          },
        },
      },
    });
    expect(terraform).not.toContain('%{');
    expect(terraform).toContain('läufe %\\u007bx} 日/*/RunUploaded.json');
  });
  it('is printed by `polony iam`, for one bucket only', () => {
    expect(
      JSON.parse(iamText({ format: 'events-cloudformation', credentialType: 'role', bucket: ['lab-aviti'] })),
    ).toHaveProperty('Resources.Runs');
    expect(iamText({ format: 'events-terraform', credentialType: 'role', bucket: ['lab-aviti'] })).toContain(
      'aws_cloudwatch_event_rule',
    );
    expect(() =>
      iamText({ format: 'events-terraform', credentialType: 'role', bucket: ['one-bucket', 'two-buckets'] }),
    ).toThrow(/one bucket/);
  });
});
